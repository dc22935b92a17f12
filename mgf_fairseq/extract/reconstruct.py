"""Decode an utterance with a checkpoint's sample objective: what the sample scale has kept of it.

For pictures and for listening; `mgf evaluate` and the quickstart call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from ..acoustics.normalization import unit_variance
from ..data.audio import AudioError, AudioReader
from ..data.entries import ManifestError
from ..data.manifest import read_manifest
from ..objectives.decoding import decode_waveform
from ..objectives.sample import SampleObjective
from ..utils.atomic import replacing
from .pretrained import load_pretrained

Signal = npt.NDArray[np.float32]
_HEADROOM = 0.95  # of full scale, for the louder of the two


@dataclass(frozen=True)
class Reconstruction:
    """An utterance and what came back of it, on one scale and aligned to the sample."""

    original: Signal  # (S,)
    decoded: Signal  # (S,)
    sample_rate: int


@torch.no_grad()
def reconstruct(
    checkpoint: Path | str, manifest: Path | str, seconds: float = 2.5
) -> Reconstruction | None:
    """Decode the beginning of a manifest's longest utterance that can be read.

    Returns:
        both signals, or None where the checkpoint has no sample objective, or nothing can be read.

    Raises:
        CheckpointError: it is not a pre-trained MGF.
        ValueError: so few seconds hold no frame.
    """
    model, config = load_pretrained(checkpoint, ["sample"])
    if model.objectives is None or "sample" not in model.objectives:
        return None
    objective = model.objectives["sample"]
    assert isinstance(objective, SampleObjective)
    rate = int(config.task.sample_rate)
    most, least = int(seconds * rate), model.shape.receptive_field
    if most < least:
        raise ValueError(f"seconds={seconds} are {most} samples, fewer than the {least} of a frame")
    signal = _longest_readable(manifest, rate, most, least)
    if signal is None:
        return None
    waveform = torch.from_numpy(signal)
    if config.task.normalize:
        waveform = unit_variance(waveform)
    original, decoded = decode_waveform(model, objective, waveform)
    return Reconstruction(original.numpy(), decoded.numpy(), rate)


def _longest_readable(manifest: Path | str, rate: int, most: int, least: int) -> Signal | None:
    """At most the first `most` samples of the longest utterance that holds `least` of them."""
    table = read_manifest(manifest)
    for row in np.argsort(-table.num_samples, kind="stable").tolist():
        try:
            with AudioReader(table.entry(row), rate) as reader:
                signal = reader.read(0, min(reader.num_samples, most))
        except (AudioError, ManifestError):
            continue
        if len(signal) >= least:
            return signal
    return None


def write_reconstruction(found: Reconstruction, original: Path, decoded: Path) -> None:
    """Write both signals as 16-bit WAV files, scaled by one factor."""
    loudest = max(float(np.abs(found.original).max()), float(np.abs(found.decoded).max()), 1e-9)
    for file, signal in ((original, found.original), (decoded, found.decoded)):
        scaled = signal * (_HEADROOM / loudest)
        with replacing(file) as path:
            soundfile.write(path, scaled, found.sample_rate, subtype="PCM_16", format="WAV")
