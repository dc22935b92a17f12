"""Lengths are those of the audio, whatever the header says, and each command reads the same."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.check.audio import Options, measure
from mgf_fairseq.data.audio import AudioError, AudioReader, audio_info

RATE = 16000
SAMPLES = 32000


def noise(num_samples=SAMPLES, seed=0):
    """A tone, then noise: the first bit rate of a coded file is not its mean."""
    rng = np.random.default_rng(seed)
    tone = 0.01 * np.sin(np.arange(num_samples // 2) / 20)
    return np.concatenate([tone, 0.2 * rng.standard_normal(num_samples - len(tone))])


def encoded(form, subtype=None, waveform=None, rate=RATE, **options):
    stream = io.BytesIO()
    waveform = noise() if waveform is None else waveform
    soundfile.write(stream, waveform, rate, format=form, subtype=subtype, **options)
    return stream.getvalue()


def put(data, at, form, *values):
    data = bytearray(data)
    struct.pack_into(form, data, at, *values)
    return bytes(data)


def sized(form, size):
    """A file of a format that says its size in bytes, with another size in the header."""
    data = encoded(form, "PCM_16")
    if form in ("AU", "AU-LE"):
        return put(data, 8, ">I", size)
    if form == "RF64":
        return put(data, data.index(b"ds64") + 16, "<QQ", size, 0)
    name, form, skip = {
        "WAV": (b"data", "<I", 4),
        "AIFF": (b"SSND", ">I", 4),
        "CAF": (b"data", ">Q", 4),
        "W64": (b"data", "<Q", 16),
    }[form]
    return put(data, data.index(name) + skip, form, size)


def assert_all_agree(path, expected, atol=0.0):
    """Prepare's count, check, the whole file and crops of it say the same."""
    info = audio_info(str(path))
    assert info.num_samples == len(expected)
    facts = measure(str(path), len(expected), Options(info.sample_rate))
    assert not facts.failure and facts.num_samples == len(expected)
    with AudioReader(str(path), 0) as reader:
        whole = reader.read()
        np.testing.assert_allclose(whole, expected, atol=atol)
        for start in (len(whole) - 900, 20, len(whole) // 2, 0):
            np.testing.assert_allclose(
                reader.read(start, 900), whole[start : start + 900], atol=1e-6
            )


UNKNOWN = [
    *[("WAV", size) for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFDB)],
    *[("WAV", 64000 + 44), ("WAV", 64000 + 36), ("WAV", 36), ("WAV", 32000)],  # +44, and stale
    *[("AU", size) for size in (0xFFFFFFFF, 0, 0x7FFFFFFF, 64000 + 24)],
    *[("AIFF", size) for size in (0, 0x7F000008, 0xFFFFFFFF)],
    *[("RF64", size) for size in (0, 2**64 - 1)],
    *[("CAF", size) for size in (2**64 - 1, 0)],
    *[("W64", size) for size in (0, 24, 2**64 - 1, 2**63 - 1)],
]


@pytest.mark.parametrize(("form", "size"), UNKNOWN)
def test_a_size_that_was_never_written_does_not_hide_samples(tmp_path, form, size):
    path = tmp_path / "a.wav"
    path.write_bytes(sized(form, size))
    expected, _ = soundfile.read(io.BytesIO(encoded(form, "PCM_16")))
    assert_all_agree(path, expected)


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "RF64", "CAF", "NIST", "FLAC", "MP3"])
def test_a_file_that_was_cut_short_is_refused_before_training(tmp_path, form):
    path = tmp_path / "a.wav"
    data = encoded(form)
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(AudioError, match=r"a\.wav: (truncated|cannot be decoded)"):
        audio_info(str(path))


def test_samples_that_would_begin_after_the_end_of_the_file_are_refused(tmp_path):
    path = tmp_path / "a.au"
    path.write_bytes(b".snd" + struct.pack(">IIIII", 1 << 29, 24, 1, 16000, 1) + bytes(40))
    with pytest.raises(AudioError, match=r"a\.au: truncated.*from byte 536870912"):
        audio_info(str(path))


def test_what_follows_the_samples_of_a_wav_is_not_taken_for_samples(tmp_path):
    path, data = tmp_path / "a.wav", encoded("WAV", "PCM_16")
    for tail in (b"LIST\x04\0\0\0INFO", b"\0" * 5000, b"TAG" + b"x" * 125, b"ID3\x03" * 9, b"odd"):
        path.write_bytes(data + tail)
        assert audio_info(str(path)).num_samples == SAMPLES
    empty = encoded("WAV", waveform=np.zeros(0))
    path.write_bytes(empty + b"LIST\x04\0\0\0INFO")
    with pytest.raises(AudioError, match="holds no samples"):
        audio_info(str(path))


def test_a_wav_of_more_than_4_gib_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.wav"
    data = encoded("WAV", "PCM_16")
    there = 2**32 + 64000  # the header's size has wrapped
    with open(path, "wb") as stream:
        stream.write(put(data, data.index(b"data") + 4, "<I", there % 2**32))
        stream.seek(44 + there - 200)
        stream.write(struct.pack("<100h", *range(100, 200)))
    with AudioReader(str(path), 0) as reader:
        assert reader.num_samples == there // 2
        end = reader.read(reader.num_samples - 100, 100)
        np.testing.assert_array_equal(end * 2**15, np.arange(100, 200))


def of_unknown_length(flac, begin=0):
    data = bytearray(flac)
    data[begin + 21] &= 0xF0
    data[begin + 22 : begin + 26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("num_samples", [1, 4095, 4096, 4097, 700_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_flac_of_unknown_length_is_counted_by_its_last_frame(tmp_path, num_samples, subtype):
    waveform = noise(num_samples, 1)
    data = encoded(
        "FLAC", subtype, np.stack([waveform, -waveform], 1) if num_samples < 5000 else waveform
    )
    expected, _ = soundfile.read(io.BytesIO(data), always_2d=True)
    unknown = of_unknown_length(data)
    for content in (
        unknown,
        b"ID3\x04\0\0\0\0\x01\x05" + bytes(133) + unknown,
        unknown + b"TAG" + bytes(125),
    ):
        (tmp_path / "a.flac").write_bytes(content)
        with AudioReader(str(tmp_path / "a.flac"), 0) as reader:
            assert reader.length_is_counted
            np.testing.assert_array_equal(reader.read(), expected.mean(axis=1, dtype=np.float32))
            last = reader.read(num_samples - 1, 1)
            np.testing.assert_array_equal(last, reader.read()[-1:])


def test_a_flac_of_unknown_length_that_was_cut_is_refused_with_the_fix(tmp_path):
    data = of_unknown_length(encoded("FLAC"))
    (tmp_path / "a.flac").write_bytes(data[:-7])
    with pytest.raises(AudioError, match=r"does not say how long it is.*cut short.*ffmpeg"):
        audio_info(str(tmp_path / "a.flac"))


def without_xing(mp3):
    """An mp3 as a stream has it: without its first frame, which has the count."""
    with soundfile.SoundFile(io.BytesIO(mp3)) as file:
        first = file.samplerate >= 32000
    rates = [
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    ][first]
    rate = struct.unpack(">I", mp3[:4])[0]
    hertz = soundfile.info(io.BytesIO(mp3)).samplerate
    return mp3[(144 if first else 72) * rates[rate >> 12 & 15] * 1000 // hertz + (rate >> 9 & 1) :]


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (16000, 2), (22050, 1), (44100, 2), (48000, 1)]
)
def test_an_mp3_without_a_count_is_counted_frame_by_frame(tmp_path, mode, rate, channels):
    waveform = np.stack([noise(rate * 4)] * channels, axis=1)
    mp3 = encoded("MP3", waveform=waveform, rate=rate, bitrate_mode=mode)
    tags = b"ID3\x03\0\0\0\0\x0a\0" + bytes(1280), b"TAG" + bytes(125)
    ape = b"APETAGEX" + b"\xff\xfb\x90\xc4" * 50 + b"\xff\xe3" * 99
    stream = without_xing(mp3)
    (tmp_path / "whole.mp3").write_bytes(mp3)
    (tmp_path / "plain.mp3").write_bytes(stream)
    (tmp_path / "tags.mp3").write_bytes(tags[0] + stream + ape + tags[1])
    (tmp_path / "cut.mp3").write_bytes(stream[:-100])
    with AudioReader(str(tmp_path / "whole.mp3"), 0) as reader:
        whole = reader.read()
        assert len(whole) == len(waveform)
    frame = 1152 if rate >= 32000 else 576
    for name in ("plain", "tags", "cut"):
        path = tmp_path / f"{name}.mp3"
        # All of it, and the frames of a coder's delay and its filling at the end.
        count = audio_info(str(path)).num_samples
        assert 0 <= count - len(whole) + (name == "cut") * frame <= 3 * frame
        with AudioReader(str(path), 0) as reader:
            assert_all_agree(path, reader.read())


def test_an_mp3_whose_count_is_of_its_first_part_is_read_to_its_end(tmp_path):
    mp3 = encoded("MP3")
    (tmp_path / "a.mp3").write_bytes(mp3 + mp3)
    count = audio_info(str(tmp_path / "a.mp3")).num_samples
    assert count > 2 * SAMPLES
    with AudioReader(str(tmp_path / "a.mp3"), 0) as reader:
        assert np.abs(reader.read()[-SAMPLES // 4 :]).mean() > 0.1


WITHOUT_SEEKING = [
    ("WAV", "GSM610"),
    ("W64", "GSM610"),
    ("AIFF", "GSM610"),
    ("WAV", "G721_32"),
    ("AU", "G721_32"),
    ("AU", "G723_24"),
    ("WAV", "NMS_ADPCM_32"),
    ("XI", "DPCM_16"),
]


@pytest.mark.parametrize(("form", "subtype"), WITHOUT_SEEKING)
def test_a_format_without_seeking_is_read_from_its_beginning(tmp_path, form, subtype):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(form, subtype, rate=8000))
    expected, _ = soundfile.read(path, dtype="float32")
    assert_all_agree(path, expected) if form != "XI" else None
    rng = np.random.default_rng(0)
    with AudioReader(str(path), 0) as reader:
        assert not reader.seekable and reader.num_samples == len(expected)
        for start in (*rng.integers(0, len(expected) - 500, 20), len(expected) - 500, 0):
            np.testing.assert_array_equal(reader.read(start, 500), expected[start : start + 500])


def test_what_cannot_be_decoded_is_refused_when_its_header_is_read(tmp_path):
    # libsndfile opens DWVW from a stream, and fails at the first sample.
    (tmp_path / "a.aiff").write_bytes(encoded("AIFF", "DWVW_16"))
    with pytest.raises(AudioError, match=r"a\.aiff: cannot be decoded"):
        audio_info(str(tmp_path / "a.aiff"))


def test_a_corrected_header_is_read_from_an_archive_too(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"x" * 100 + of_unknown_length(encoded("FLAC")) + b"y" * 50)
    entry = f"{tmp_path}/a.zip:100:{len(encoded('FLAC'))}"
    assert audio_info(entry) == (SAMPLES, RATE, 1)
    assert audio_info(f"{entry}:31000:1000") == (1000, RATE, 1)
