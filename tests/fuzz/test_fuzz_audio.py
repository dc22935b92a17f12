"""Fuzzed audio files: samples or a clear error; no hang, no gigabytes."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from fuzzing import MEGABYTES, bounded, cases, outcome, spoiled
from hypothesis import given
from hypothesis import strategies as st

from mgf_fairseq.check.audio import Options, measure
from mgf_fairseq.data.audio import AudioError, AudioReader
from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.manifest import Manifest, PathTable
from mgf_fairseq.utils.transfer import from_bits

FORMS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "adpcm.wav": ("WAV", "MS_ADPCM"),
    "ulaw.au": ("AU", "ULAW"),
    "aiff": ("AIFF", "PCM_24"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
RATE, SAMPLES = 16000, 4000
SIZES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
NASTY = (
    *(size.to_bytes(4, order) for size in SIZES for order in ("little", "big")),
    *((2**63 - 1).to_bytes(8, order) for order in ("little", "big")),
    *(b"data", b"fmt ", b"LIST", b"fact", b"RIFF", b"OggS", b"fLaC", b"SSND", b"COMM"),
    *(
        b"\x01\x00",
        b"\xff\xff",
        b"\x00\x04",
        b"\x7f",
        b"\xff\xfb",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
    ),
)
HEADER = 160  # bytes: those that say what follows, and a little of that


@cache
def encoded(form: str) -> bytes:
    """A short two-tone file."""
    tone = 0.2 * np.sin(np.arange(SAMPLES) / 7) + 0.1 * np.sin(np.arange(SAMPLES) / 31)
    container, subtype = FORMS[form]
    stream = io.BytesIO()
    soundfile.write(stream, tone, RATE, format=container, subtype=subtype)
    return stream.getvalue()


def spoiled_files() -> st.SearchStrategy[tuple[str, bytes]]:
    """A format's name and a file of it, spoiled in the header or anywhere."""

    def of(form: str) -> st.SearchStrategy[tuple[str, bytes]]:
        data = encoded(form)
        either = st.one_of(spoiled(data, NASTY, within=HEADER), spoiled(data, NASTY))
        return either.map(lambda spoilt: (form, spoilt))

    return st.sampled_from(sorted(FORMS)).flatmap(of)


def read_in_parts(path: str, rate: int) -> npt.NDArray[np.float32]:
    """What is asked of a file somewhere: a crop, then all of it."""
    with AudioReader(path, rate) as reader:
        middle = min(500, reader.num_samples // 2)
        crop = reader.read(middle, min(300, reader.num_samples - middle))
        whole = reader.read()
        assert len(whole) == reader.num_samples and np.isfinite(whole).all()
        assert np.isfinite(crop).all()
        return whole


@given(file=spoiled_files(), rate=st.sampled_from([16000, 0, 8000]))
@cases(200)
def test_a_file_is_read_or_refused_by_name(tmp_path_factory, file, rate):
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{file[0]}"
    path.write_bytes(file[1])
    outcome(lambda: read_in_parts(str(path), rate), AudioError, str(path))


@given(file=spoiled_files(), promised=st.sampled_from([SAMPLES, 800, 10**9]))
@cases(100)
def test_training_and_check_take_a_file_or_leave_it_out(tmp_path_factory, file, promised):
    path = tmp_path_factory.getbasetemp() / f"fuzzed.{file[0]}"
    path.write_bytes(file[1])
    manifest = Manifest(path.parent, PathTable.from_strings([path.name]), np.array([promised]))
    options = {"sample_rate": RATE, "normalize": True, "shuffle": False, "seed": 1}
    dataset = MgfDataset(manifest, Crops(2, 1600, 400), num_buckets=0, **options)
    item, _ = outcome(lambda: dataset[0], (), "")
    batch, _ = outcome(lambda: dataset.collater([item]), (), "")
    if item["views"]:
        assert from_bits(batch["net_input"]["source"]).isfinite().all()
        assert batch["num_skipped"] == 0
    else:
        assert batch == {} and dataset.pending_skipped == 1
    facts, _ = outcome(lambda: measure(str(path), promised, Options()), (), "")
    assert facts.exists and (facts.num_samples > 0 or facts.failure)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_read_where_nothing_is_spoiled(tmp_path, form):
    (tmp_path / f"a.{form}").write_bytes(encoded(form))
    assert len(read_in_parts(str(tmp_path / f"a.{form}"), RATE)) >= SAMPLES


@pytest.mark.parametrize("sample", [1e38, -1e11, float("nan"), float("-inf")])
def test_a_sample_whose_square_is_no_number_is_refused(tmp_path, sample):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.1, sample, -0.1] * 200, np.float32), RATE, subtype="FLOAT")
    with AudioReader(str(path), RATE) as reader, pytest.raises(AudioError, match=r"a\.wav: holds"):
        reader.read()
    soundfile.write(path, np.array([0.0, 2.0**31] * 200, np.float32), RATE, subtype="FLOAT")
    assert read_in_parts(str(path), RATE).max() == 2.0**31


@pytest.mark.parametrize("rate", [1, 999, 2**31 - 1])
def test_a_header_with_a_rate_of_no_sound_is_refused(tmp_path, rate):
    data = bytearray(encoded("wav"))
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with bounded(), pytest.raises(AudioError, match=rf"a\.wav: its header says {rate} Hz"):
        AudioReader(str(tmp_path / "a.wav"), 16000)


def flac_that_promises(num_samples: int) -> bytes:
    """The 36 bits of a FLAC header that count samples begin in byte 21."""
    data = bytearray(encoded("flac"))
    data[21] = data[21] & 0xF0 | num_samples >> 32
    data[22:26] = (num_samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("num_samples", [10**6, 10**9, 2**36 - 1])
def test_a_header_that_promises_hours_gets_no_memory_for_them(tmp_path, num_samples):
    path = tmp_path / "liar.flac"
    path.write_bytes(flac_that_promises(num_samples))
    with bounded(), AudioReader(str(path), 16000) as reader:
        assert reader.num_samples == num_samples > 200 * MEGABYTES or num_samples == 10**6
        with pytest.raises(AudioError, match=r"liar\.flac: (truncated|cannot be decoded)"):
            reader.read()
