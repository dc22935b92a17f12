"""Reading audio: crops equal the whole file, every form and format, and every kind of bad file."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import read, tones

from mgf_fairseq.data.audio import AudioError, AudioReader, audio_info, resampled_length


def test_a_file_of_the_right_rate_is_returned_bit_for_bit(tmp_path):
    waveform = tones(5000, 16000)
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    found = read(tmp_path / "a.wav")
    assert found.dtype == np.float32 and found.shape == (5000,)
    np.testing.assert_array_equal(found, waveform[:, 0])
    np.testing.assert_array_equal(
        read(tmp_path / "a.wav", start=17, num_samples=100), found[17:117]
    )


def test_channels_are_averaged(tmp_path):
    waveform = tones(3000, 16000, channels=2)
    soundfile.write(tmp_path / "a.flac", waveform, 16000, subtype="PCM_24")
    # 24 bits: 2 ** -23 per step.
    np.testing.assert_allclose(read(tmp_path / "a.flac"), waveform.mean(axis=1), atol=2**-22)


@pytest.mark.parametrize("native_rate", [8000, 11025, 22050, 44100, 48000])
def test_a_resampled_crop_equals_the_same_stretch_of_the_whole(tmp_path, native_rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(native_rate * 2 + 7, native_rate, 2), native_rate, subtype="FLOAT")
    with AudioReader(str(path), 16000) as reader:
        whole = reader.read()
        assert (reader.native_sample_rate, reader.channels) == (native_rate, 2)
        assert len(whole) == reader.num_samples
        assert reader.num_samples == resampled_length(native_rate * 2 + 7, native_rate, 16000)
        for start, count in [(0, 1), (0, 900), (1, 5000), (12345, 4000), (16001, 15999)]:
            crop = reader.read(start, count)
            assert len(crop) == count
            # The margin holds the resampling filter; what is left is fp32 rounding.
            np.testing.assert_allclose(crop, whole[start : start + count], atol=1e-5)


@pytest.mark.parametrize("native_rate", [8000, 44100])
def test_resampling_keeps_time_and_amplitude(tmp_path, native_rate):
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(native_rate, native_rate), native_rate, subtype="FLOAT")
    inner = slice(500, -500)  # the file's abrupt ends ring
    # The filter's passband ripple.
    np.testing.assert_allclose(read(path)[inner], tones(16000, 16000)[:, 0][inner], atol=2e-3)


@pytest.mark.parametrize(
    ("extension", "subtype", "native_rate"),
    [
        ("ogg", "VORBIS", 8000),
        ("ogg", "VORBIS", 44100),
        ("opus", "OPUS", 16000),
        ("mp3", "MPEG_LAYER_III", 16000),
        ("mp3", "MPEG_LAYER_III", 44100),
        ("aiff", "PCM_16", 16000),
    ],
)
def test_crops_of_other_formats_equal_the_whole(tmp_path, extension, subtype, native_rate):
    # libsndfile seeks inexactly in mp3 and Vorbis; without the preroll several of these crops fail.
    path = tmp_path / f"a.{extension}"
    container = "OGG" if extension == "opus" else None
    rng = np.random.default_rng(0)
    waveform = tones(native_rate * 8, native_rate)[:, 0]
    waveform = waveform + 0.02 * rng.standard_normal(len(waveform))
    soundfile.write(path, waveform, native_rate, subtype=subtype, format=container)
    # libsndfile's Opus decoder is not exactly repeatable after a seek.
    tolerance = 1e-2 if extension == "opus" else 1e-6
    with AudioReader(str(path), native_rate) as reader:
        whole = reader.read()
        for start in (0, 1, *rng.integers(0, len(whole) - 2000, 60).tolist()):
            np.testing.assert_allclose(
                reader.read(start, 2000), whole[start : start + 2000], atol=tolerance
            )


def test_crops_near_the_end_of_a_vorbis_file_are_not_shifted(tmp_path):
    # A seek into the last page is off by what was trimmed from its end.
    path = tmp_path / "a.ogg"
    rng = np.random.default_rng(0)
    waveform = tones(48000, 8000)[:, 0] + 0.02 * rng.standard_normal(48000)
    soundfile.write(path, waveform, 8000, subtype="VORBIS", format="OGG")
    with AudioReader(str(path), 8000) as reader:
        whole = reader.read()
        for start in range(43000, 47000, 199):
            np.testing.assert_allclose(
                reader.read(start, 1000), whole[start : start + 1000], atol=1e-6
            )


def test_a_segment_counts_at_the_rate_of_the_file(tmp_path):
    path = tmp_path / "with:colon.wav"
    waveform = tones(44100, 44100)
    soundfile.write(path, waveform, 44100, subtype="FLOAT")
    entry = f"{path}:4410:22050"
    assert audio_info(entry) == (22050, 44100, 1)
    with AudioReader(entry, 44100) as reader:
        np.testing.assert_array_equal(reader.read(10, 50), waveform[4420:4470, 0])
    with AudioReader(entry, 16000) as reader:
        assert reader.num_samples == 8000 == len(reader.read())
    with pytest.raises(AudioError, match="ends after"):
        AudioReader(f"{path}:40000:22050", 16000)


def test_a_file_may_be_named_like_a_segment(tmp_path):
    waveform = tones(1000, 16000)
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    os.rename(tmp_path / "a.wav", tmp_path / "12:30:05")
    np.testing.assert_array_equal(read(tmp_path / "12:30:05"), waveform[:, 0])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        AudioReader(str(tmp_path / "gone.wav"), 16000)


@pytest.mark.parametrize("content", [b"", b"not audio at all" * 100, b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_file_that_is_not_audio_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match="not an audio file"):
        AudioReader(str(tmp_path / "a.wav"), 16000)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AudioError, match="cannot be opened"):
        AudioReader(str(tmp_path), 16000)


@pytest.mark.parametrize("good", [0, 44])  # bytes: nothing, the header
def test_a_file_system_that_fails_on_reading_is_named(tmp_path, monkeypatch, good):
    class Stale(io.FileIO):
        def readinto(self, buffer):
            if self.tell() >= good:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return super().readinto(buffer)

    soundfile.write(tmp_path / "a.wav", tones(16000, 16000), 16000)
    monkeypatch.setattr(io, "FileIO", Stale)
    with pytest.raises(AudioError, match=r"a\.wav: cannot be read \(Stale file handle\)"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_a_file_cut_short_is_refused(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32000)
    soundfile.write(path, noise, 16000)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match=r"truncated|decoded"):
        read(path)


def test_a_wav_that_was_written_to_a_pipe_is_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(1000, 16000), 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    position = data.index(b"data") + 4
    data[position : position + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(read(path)) == 1000


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="holds no samples"):
        AudioReader(str(tmp_path / "a.wav"), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused_where_they_are_read(tmp_path, value):
    waveform = np.zeros(1000, np.float32)
    waveform[700] = value
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        read(tmp_path / "a.wav")
    assert len(read(tmp_path / "a.wav", num_samples=700)) == 700


def test_a_stretch_outside_the_file_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16000)
    for start, count in [(-1, 5), (990, 11), (0, -1), (1001, None)]:
        with pytest.raises(AudioError, match="it holds 1000"):
            read(tmp_path / "a.wav", start=start, num_samples=count)


def test_digital_silence_is_audio(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    assert not read(tmp_path / "a.wav").any()


def test_real_opus_speech_keeps_its_sample_counts_and_seeks():
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("MGF_DATA", default)) / "librispeech-mini"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set MGF_DATA to the folder that holds librispeech-mini")
    lines = (folder / "metadata.tsv").read_text().splitlines()
    columns = lines[0].split("\t")
    for line in lines[1::150]:
        row = dict(zip(columns, line.split("\t"), strict=True))
        with AudioReader(str(folder / row["path"]), 16000) as reader:
            assert reader.num_samples == int(row["num_samples"])
            whole = reader.read()
            start = len(whole) // 3
            crop = reader.read(start, 8000)
            # Up to 0.003 was measured; the decoder is not exactly repeatable after a seek.
            np.testing.assert_allclose(crop, whole[start : start + 8000], atol=1e-2)
