"""Recordings of any length: batches and pieces give what each alone gives, in order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from mgf_fairseq.data import audio
from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.extract import waveform_model
from mgf_fairseq.inference.frame_model import FrameModel
from mgf_fairseq.inference.long_audio import WINDOW, Recording, Run, Skipped

RATE = 16000


class Energy(nn.Module):
    """The mean square of what each frame sees: a model whose outputs know no other frame."""

    def forward(self, source: Tensor, padding_mask: Tensor) -> Tensor:
        windows = source.unfold(1, STANDARD_GRID.receptive_field, STANDARD_GRID.hop_length)
        return windows.square().mean(dim=-1, keepdim=True)  # (B, S) -> (B, T, 1)


def _model(normalize: bool = True, padding_invariant: bool = True) -> FrameModel:
    def outputs(model: nn.Module, source: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(source, mask)
        return found

    energy = Energy()
    energy.register_buffer("place", torch.zeros(1))
    return FrameModel(energy, outputs, STANDARD_GRID, 1, RATE, normalize, padding_invariant)


def _whole(recording: Recording, frames: Iterable[Tensor]) -> tuple[str, Tensor]:
    stretches = list(frames)
    return recording.name, torch.cat(stretches) if stretches else torch.zeros(0, 1)


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    return (0.3 + rng.normal(size=count) * np.linspace(0.1, 2, count)).astype(np.float32)


@pytest.mark.parametrize("normalize", [True, False])
def test_pieces_of_a_long_recording_are_frame_by_frame_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, normalize: bool
) -> None:
    waveform, model = _noise(61.37), _model(normalize)
    (_, pieces) = next(iter(Run(model, _whole).over([waveform])))
    monkeypatch.setattr(waveform_model, "LONG_SECONDS", 1e9)
    (_, whole) = next(iter(Run(model, _whole).over([waveform])))
    assert len(pieces) == len(whole) == STANDARD_GRID.num_frames(len(waveform))
    # The mean is summed in double precision for pieces and by torch in single for the whole.
    torch.testing.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)


def test_no_more_than_a_piece_of_a_long_file_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    read = audio.AudioReader.read

    def watched(self: audio.AudioReader, start: int = 0, num_samples: int | None = None):  # type: ignore[no-untyped-def]
        found = read(self, start, num_samples)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(audio.AudioReader, "read", watched)
    soundfile.write(tmp_path / "long.wav", _noise(200), RATE)
    ((_, frames),) = Run(_model(), _whole).over([tmp_path / "long.wav"])
    assert len(frames) == STANDARD_GRID.num_frames(200 * RATE)
    limit = waveform_model.PIECE_SECONDS + 2 * waveform_model.CONTEXT_SECONDS
    assert max(sizes) <= limit * RATE + STANDARD_GRID.receptive_field


@pytest.mark.parametrize("padding_invariant", [True, False])
def test_batches_give_what_each_alone_gives_in_the_order_given(padding_invariant: bool) -> None:
    model = _model(padding_invariant=padding_invariant)
    waveforms = [_noise(0.1 + (7 * n % 11) / 5, seed=n) for n in range(30)]
    together = list(Run(model, _whole, batch_seconds=8).over(waveforms))
    for number, (waveform, (name, frames)) in enumerate(zip(waveforms, together, strict=True)):
        ((_, alone),) = Run(model, _whole).over([waveform])
        assert name == f"waveform {number}"
        torch.testing.assert_close(frames, alone)


def test_a_recording_that_cannot_be_read_costs_only_itself_and_its_place_is_kept(
    tmp_path: Path,
) -> None:
    good, broken, nan = (tmp_path / name for name in ("good.wav", "broken.wav", "nan.wav"))
    soundfile.write(good, _noise(1), RATE)
    broken.write_bytes(good.read_bytes()[:5000])
    spoiled = _noise(70)
    spoiled[-1] = np.nan  # found when its pieces are read, not in its header
    soundfile.write(nan, spoiled, RATE, subtype="FLOAT")
    items = [good, broken, nan, tmp_path / "none.wav", good, np.zeros((3, 2)), spoiled[-5:]]
    found = list(Run(_model(), _whole).over(items))
    kinds = [type(result) is tuple for result in found]
    assert kinds == [True, False, False, False, True, False, False]
    reasons = [result.reason for result in found if isinstance(result, Skipped)]
    assert "truncated" in reasons[0] and "NaN" in reasons[1] and reasons[2] == "no such file"
    assert "shape (3, 2)" in reasons[3] and "NaN" in reasons[4]
    names = [result.name for result in found if isinstance(result, Skipped)]
    assert names == [str(broken), str(nan), str(items[3]), "waveform 5", "waveform 6"]


def test_results_come_before_all_is_read_and_progress_ends_at_the_whole() -> None:
    seen: list[tuple[str, float, float]] = []
    run = Run(_model(), _whole, progress=lambda *now: seen.append(now), what="look")
    items = [_noise(0.1, seed=n) for n in range(WINDOW + 2)]
    results = run.over(items)
    next(results)
    assert seen[-1][1] < seen[-1][2] == pytest.approx(0.1 * len(items))
    assert len(list(results)) == WINDOW + 1
    assert seen[-1][1] == pytest.approx(seen[-1][2])
