"""Waveforms as people have them, through the encoders and the acoustic baselines."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from tiny import speech_like
from tiny_checkpoints import mgf_checkpoint, waveforms
from torch import Tensor

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.extract import waveform_model
from mgf_fairseq.extract.encoder import LoadedEncoder, load_encoder
from mgf_fairseq.extract.store import write_features
from mgf_fairseq.extract.upstream import Upstream, load_upstream

CALL = Callable[..., Any]
DEVICE = torch.device("cpu")


@pytest.fixture
def encoder(tmp_path: Path) -> LoadedEncoder:
    return load_encoder(mgf_checkpoint(tmp_path / "ck.pt"))


@pytest.fixture(params=["load_encoder", "load_upstream", "fbank", "segments"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> CALL:
    """Everything in Python that takes waveforms."""
    path = mgf_checkpoint(tmp_path / "ck.pt")
    made: dict[str, Callable[[], CALL]] = {
        "load_encoder": lambda: load_encoder(path),
        "load_upstream": lambda: load_upstream(path),
        "fbank": lambda: load_upstream("fbank"),
        "segments": lambda: load_upstream(path).of_segments(0.1),
    }
    return made[request.param]()


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "big-endian": lambda x: x.astype(">f4"),
    "long double": lambda x: x.astype(np.longdouble),
    "reversed twice": lambda x: np.flip(x).copy()[::-1],
    "every other": lambda x: np.repeat(x, 2)[::2],
    "a column of two": lambda x: np.stack([x, x], axis=1)[:, 0],
    "broadcast": lambda x: np.broadcast_to(x, (3, len(x)))[1],
    "read-only": frozen,
    "a tensor": torch.from_numpy,
    "a float64 tensor that wants a gradient": lambda x: (
        torch.from_numpy(x).double().requires_grad_()
    ),
    "a tensor of strides": lambda x: torch.from_numpy(np.repeat(x, 2))[::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_waveform_gives_the_same_features(call: CALL, form: str) -> None:
    plain = waveforms(8000)[0]
    given = FORMS[form](plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone, listed = call(given), call([given, plain])
    expected = call([plain, plain])
    assert torch.equal(alone.hidden_states[-1], call(plain).hidden_states[-1])
    assert torch.equal(listed.hidden_states[-1], expected.hidden_states[-1])


def test_what_is_given_is_never_written_to(call: CALL) -> None:
    plain = waveforms(8000)[0]
    before = plain.copy()
    call(plain)
    call(torch.from_numpy(plain))
    np.testing.assert_array_equal(plain, before)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [("i2", 2**15, 0), (">i2", 2**15, 0), ("i4", 2**31, 0), ("i1", 2**7, 0), ("u1", 2**7, 128)],
)
def test_integers_are_scaled_by_their_full_scale(
    encoder: LoadedEncoder, dtype: str, scale: int, offset: int
) -> None:
    encoder.normalize = False  # which would hide the scale
    held = (0.1 * waveforms(8000)[0] * scale + offset).round().astype(dtype)
    scaled = ((held.astype(np.float64) - offset) / scale).astype(np.float32)
    found = encoder(held).hidden_states[-1]
    assert torch.equal(found, encoder(scaled).hidden_states[-1])
    if dtype in ("i2", "u1"):
        assert torch.equal(found, encoder(torch.from_numpy(held)).hidden_states[-1])


def test_files_are_read_with_channels_averaged_and_resampled(call: CALL, tmp_path: Path) -> None:
    at_8k = speech_like(1.0, seed=1, sample_rate=8000)
    stereo = np.stack([at_8k * 1.5, at_8k * 0.5], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, subtype="FLOAT")
    with AudioReader(str(tmp_path / "a.wav"), 16000) as reader:
        expected = call(reader.read()).hidden_states[-1]
    for given in (tmp_path / "a.wav", str(tmp_path / "a.wav")):
        assert torch.equal(call(given).hidden_states[-1], expected)
    assert torch.equal(call([tmp_path / "a.wav"], 8000).hidden_states[-1], expected)
    assert torch.equal(call(at_8k, sample_rate=8000).hidden_states[-1], expected)
    by_hand = soxr.resample(at_8k, 8000, 16000, quality="HQ")
    assert torch.equal(call(by_hand).hidden_states[-1], expected)
    with pytest.raises(ValueError, match=r"waveform 0: .*a\.wav: its header says 8000 Hz, and"):
        call(tmp_path / "a.wav", sample_rate=16000)


def test_silence_is_a_waveform_as_any(call: CALL) -> None:
    features = call([np.zeros(8000, np.float32), waveforms(8000)[0]])
    assert all(bool(state.isfinite().all()) for state in features.hidden_states)


def spoiled(value: float) -> np.ndarray:
    x = waveforms(8000)[0].copy()
    x[[70, 90]] = value
    return x


GOOD = waveforms(8000)[0]
REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (
        [GOOD, spoiled(np.nan)],
        "waveform 1 holds 2 samples that are NaN.* the first at 70",
    ),
    "infinite": (torch.from_numpy(spoiled(np.inf)), "waveform 0 holds 2 samples that are NaN"),
    "none": ([], "no waveform given"),
    "empty": ([GOOD, GOOD, GOOD[:0]], "waveform 2 is empty; skip it"),
    "short": ([GOOD, GOOD[:399]], "waveform 1 has 399 samples, fewer than the 400 that one frame"),
    "two channels": (np.stack([GOOD, GOOD]), r"waveform 0 has shape \(2, 8000\).*their mean"),
    "a pair": ((GOOD, 16000), r"waveform 1 is the number 16000; .*sample_rate=rate"),
    "a dict": ({"array": GOOD, "sampling_rate": 8000}, "a dict is no waveform; give its array"),
    "None": ([None], "waveform 0 is a NoneType; give an array or tensor"),
    "complex": (GOOD.astype(complex), "waveform 0 is of dtype complex128, which no audio is"),
    "64 bits": ([GOOD.astype(int)], "waveform 0 is of dtype int64, which no audio is"),
    "unsigned": (GOOD.astype("u2"), "waveform 0 is of dtype uint16, which no audio is"),
    "booleans": (torch.from_numpy(GOOD) > 0, "waveform 0 is of dtype bool, which no audio is"),
    "text": ([np.array(["a"] * 800)], "waveform 0 is of dtype <U1, which no audio is"),
    "no file": ([GOOD, "absent.wav"], "waveform 1: absent.wav: no such file$"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_waveform_is_one_line_that_says_which(call: CALL, case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(ValueError, match=words) as caught:
        call(given)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used_are_named(call: CALL, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", GOOD[:300], 16000)
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"waveform 1 \(.*short\.wav\) has 300 samples"):
        call([GOOD, tmp_path / "short.wav"])
    with pytest.raises(ValueError, match=r"waveform 0: .*text\.wav: not an audio file"):
        call(tmp_path / "text.wav")


@pytest.mark.parametrize("rate", [0, -8000, 8, 8000.5, float("nan"), "8000", True])
def test_a_rate_that_is_none_is_named(call: CALL, rate: Any) -> None:
    with pytest.raises(ValueError, match=r"sample_rate=.* must be"):
        call(GOOD, sample_rate=rate)


# ---- long waveforms


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces as for hours, a tenth as long."""
    monkeypatch.setattr(waveform_model, "LONG_SECONDS", 6.0)
    monkeypatch.setattr(waveform_model, "PIECE_SECONDS", 3.0)
    monkeypatch.setattr(waveform_model, "CONTEXT_SECONDS", 1.0)


def deviation(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).square().mean().sqrt() / expected.std())


def test_pieces_are_all_frames_in_order_and_differ_from_the_whole_by_little(
    encoder: LoadedEncoder, short_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, short = speech_like(20.03, seed=1), GOOD
    cut = encoder([recording, short])
    monkeypatch.setattr(waveform_model, "LONG_SECONDS", 60.0)
    whole = encoder([recording, short])
    assert cut.lengths.tolist() == whole.lengths.tolist()
    # fp32 rounding below the attention; above it, what is beyond a second is not heard.
    assert deviation(cut.hidden_states[0][0], whole.hidden_states[0][0]) < 1e-4
    assert 0 < deviation(cut.hidden_states[-1][0], whole.hidden_states[-1][0]) < 0.02
    torch.testing.assert_close(cut.hidden_states[-1][1, :24], whole.hidden_states[-1][1, :24])


@pytest.mark.parametrize("spec", ["fbank", "mfcc"])
def test_acoustic_features_of_pieces_are_those_of_the_whole(
    spec: str, short_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, recording = load_upstream(spec), speech_like(20.03, seed=1)
    cut = upstream(recording).hidden_states[0]
    monkeypatch.setattr(waveform_model, "LONG_SECONDS", 60.0)
    torch.testing.assert_close(cut, upstream(recording).hidden_states[0], atol=1e-3, rtol=0)


def test_a_stream_is_the_same_frames_and_holds_one_piece_at_a_time(
    encoder: LoadedEncoder, short_pieces: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = speech_like(20.03, seed=1)
    soundfile.write(tmp_path / "a.wav", recording, 16000, subtype="FLOAT")
    expected = encoder(recording).hidden_states
    read: list[int] = []
    original = AudioReader.read

    def noted(self: AudioReader, start: int = 0, num_samples: int | None = None) -> Any:
        samples = original(self, start, num_samples)
        read.append(len(samples))
        return samples

    monkeypatch.setattr(AudioReader, "read", noted)
    heard: list[int] = []
    encode = encoder.encode_rows
    monkeypatch.setattr(
        encoder, "encode_rows", lambda rows: (heard.extend(map(len, rows)), encode(rows))[1]
    )
    for given in (recording, tmp_path / "a.wav"):
        found = list(encoder.stream(given))
        assert len(found) == 7 and {part.frame_rate for part in found} == {50.0}
        for layer, whole in enumerate(expected):
            joined = torch.cat([part.hidden_states[layer] for part in found], dim=1)
            torch.testing.assert_close(joined, whole, atol=1e-5, rtol=0)  # fp32 rounding
    # A piece with a second on either side; the mean and variance are taken 3 s at a time.
    assert max(heard) <= 5 * 16000 + 400 and 0 < max(read) <= 5 * 16000 + 400
    assert [len(part.hidden_states[0][0]) for part in encoder.stream(GOOD)] == [24]


def test_extraction_keeps_the_pieces_apart_from_the_whole(
    tmp_path: Path, short_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "long.wav", speech_like(13.0, seed=1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", GOOD, 16000, subtype="FLOAT")
    (tmp_path / "all.tsv").write_text(f"{tmp_path}\nlong.wav\t{13 * 16000}\nshort.wav\t8000\n")
    upstream: Upstream = load_upstream(mgf_checkpoint(tmp_path / "ck.pt"))
    store = write_features(upstream, tmp_path / "all.tsv", tmp_path / "f", batch_seconds=100)
    expected = upstream([tmp_path / "long.wav", tmp_path / "short.wav"])
    frames = torch.from_numpy(np.array(store.layer("layer 2")))
    assert store.lengths.tolist() == expected.lengths.tolist() == [649, 24]
    torch.testing.assert_close(frames[:649], expected.hidden_states[-1][0], atol=1e-5, rtol=0)
    assert store.summary["identity"]["pieces"] == [3.0, 1.0]
    monkeypatch.setattr(waveform_model, "LONG_SECONDS", 60.0)
    with pytest.raises(ValueError, match="features of another"):
        write_features(upstream, tmp_path / "all.tsv", tmp_path / "f")
