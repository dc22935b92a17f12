"""What the sample objective's decoder makes of a waveform, aligned with it and on its scale.

Used on checkpoints (extract/reconstruct.py) and while a training runs (host/recorders.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..encoder.geometry import middle_hop
from .levels import read_level
from .sample import SampleObjective


@torch.no_grad()
def decode_waveform(
    model: Any, objective: SampleObjective, waveform: Tensor
) -> tuple[Tensor, Tensor]:
    """Encode a waveform without masks, and decode it.

    Args:
        model: an MGF in evaluation mode.
        objective: one of its objectives.
        waveform: (S,), normalized as in training.

    Returns:
        (N,) of the waveform, and (N,) decoded; SI-SDR leaves the scale open, so it is fitted.
    """
    encoded, _ = model.encode(waveform[None])
    decoded = objective.decoder(read_level(encoded, objective.level))[0]
    first = middle_hop(model.shape.receptive_field, model.shape.hop_length)
    original = waveform[first : first + len(decoded)]
    scale = (original @ decoded) / decoded.square().sum().clamp(min=1e-12)
    return original, scale * decoded
