"""WAV files without libsndfile: the samples that libsndfile gives, or none of the business."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.headers import with_true_length
from mgf_fairseq.data.headers.splicing import HeaderError
from mgf_fairseq.data.plain_wav import open_plain_wav

EXTREMES = np.array([-(2**15), 2**15 - 1, 0, -1, 1], np.int16)


def wav(channels: int = 1, subtype: str = "PCM_16", chunk: bytes = b"") -> bytes:
    """Every kind of sample, in a header that may have a chunk more."""
    noise = np.random.default_rng(0).integers(-(2**15), 2**15, 995, np.int16)
    samples = np.concatenate([EXTREMES, noise]).repeat(channels).reshape(-1, channels)
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16000, subtype, format="WAV")
    data = bytearray(stream.getvalue())
    data[36:36] = chunk
    struct.pack_into("<I", data, 4, len(data) - 8)
    return bytes(data)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("chunk", [b"", b"LIST\x05\0\0\0INFOx\0"])
def test_samples_are_those_of_libsndfile_bit_by_bit(tmp_path: Path, channels, chunk):
    (tmp_path / "a.wav").write_bytes(wav(channels, chunk=chunk))
    with open(tmp_path / "a.wav", "rb") as stream:
        plain = open_plain_wav(stream)
        assert plain is not None
        with soundfile.SoundFile(tmp_path / "a.wav") as other:
            for name in ("frames", "channels", "samplerate", "format", "subtype"):
                assert getattr(plain, name) == getattr(other, name)
            for start, count in ((0, 1000), (0, 7), (400, 300), (990, 50)):
                plain.seek(start), other.seek(start)
                expected = other.read(count, "float32", always_2d=True)
                np.testing.assert_array_equal(plain.read(count), expected)


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_U8", "FLOAT", "ULAW"])
def test_other_codings_are_left_to_libsndfile(tmp_path: Path, subtype):
    (tmp_path / "a.wav").write_bytes(wav(subtype=subtype))
    assert open_plain_wav(io.BytesIO(wav(subtype=subtype))) is None
    with AudioReader(str(tmp_path / "a.wav"), 16000) as reader:
        assert reader.subtype == subtype and len(reader.read()) == 1000


@given(place=st.integers(0, 47), value=st.binary(min_size=1, max_size=4))
@example(place=22, value=b"\2")  # two channels
@example(place=40, value=b"\0\1")  # samples that are not promised
@settings(max_examples=150, deadline=None)
def test_a_spoiled_header_never_gives_other_samples_than_libsndfile(place, value):
    data = bytearray(wav())
    data[place : place + len(value)] = value
    plain = open_plain_wav(io.BytesIO(bytes(data)))
    if plain is None:
        return
    stream, counted = with_true_length(io.BytesIO(bytes(data)))
    with soundfile.SoundFile(stream) as other:
        assert not counted and plain.samplerate == other.samplerate
        expected = other.read(dtype="float32", always_2d=True)
    np.testing.assert_array_equal(plain.read(plain.frames), expected)


def test_a_file_that_is_cut_short_is_not_plain_and_is_refused():
    assert open_plain_wav(io.BytesIO(wav()[:-2])) is None
    with pytest.raises(HeaderError, match="truncated"):
        with_true_length(io.BytesIO(wav()[:-200]))
