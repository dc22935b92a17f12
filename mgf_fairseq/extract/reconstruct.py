"""Decode an utterance with a checkpoint's sample objective: what the sample scale has kept of it.

For pictures and for listening; `mgf evaluate` and the quickstart call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..objectives.decoding import decode_waveform
from ..objectives.sample import SampleObjective
from ..utils.atomic import replacing
from .example import Signal, load_example

_HEADROOM = 0.95  # of full scale, for the louder of the two


@dataclass(frozen=True)
class Reconstruction:
    """An utterance and what came back of it, on one scale and aligned to the sample."""

    original: Signal  # (S,)
    decoded: Signal  # (S,)
    sample_rate: int


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
    example = load_example(checkpoint, manifest, SampleObjective, seconds)
    if example is None:
        return None
    original, decoded = decode_waveform(example.model, example.objective, example.heard)
    return Reconstruction(original.numpy(), decoded.numpy(), example.sample_rate)


def write_reconstruction(found: Reconstruction, original: Path, decoded: Path) -> None:
    """Write both signals as 16-bit WAV files, scaled by one factor."""
    loudest = max(float(np.abs(found.original).max()), float(np.abs(found.decoded).max()), 1e-9)
    for file, signal in ((original, found.original), (decoded, found.decoded)):
        scaled = signal * (_HEADROOM / loudest)
        with replacing(file) as path:
            soundfile.write(path, scaled, found.sample_rate, subtype="PCM_16", format="WAV")
