"""What the frame objective fills into the masked stretches of a waveform, in decibels.

Used on checkpoints (extract/infill.py).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .frame import FrameObjective
from .levels import read_level

FEATURE = "mel"
_DECIBELS = 10 / math.log(10)  # per unit of the natural logarithm of power


class Filled(NamedTuple):
    """A log-mel spectrogram, and the same with its masked frames as the model predicts them."""

    original: Tensor  # (T, F) dB, of a waveform at unit variance
    filled: Tensor  # (T, F) dB, equal to `original` where `masked` is False
    masked: Tensor  # (T,) bool


@torch.no_grad()
def fill_in(model: Any, objective: FrameObjective, heard: Tensor, target: Tensor) -> Filled | None:
    """Encode a waveform with the masks of training, and predict its masked frames.

    Args:
        model: an MGF in evaluation mode; its ``mask_seed`` decides the masks.
        objective: one of its objectives.
        heard: (S,), what the encoder is given.
        target: (S,), the same at unit variance, of which the targets are made.

    Returns:
        None where the objective does not predict log-mel of masked frames, or the masks cover
        nothing or everything.

    Raises:
        ValueError: the waveform is shorter than a frame.
    """
    if objective.masked_decoder is None or FEATURE not in objective.features.names:
        return None
    encoded, _ = model.encode(heard[None], mask=True, row_id=[0], update=0)
    masked = encoded.mask_indices[0]
    if not masked.any() or masked.all():
        return None
    valid = ~encoded.padding_mask  # (1, T)
    unpadded = torch.zeros_like(target[None], dtype=torch.bool)
    natural = objective.features.natural(target[None], unpadded, valid.shape[1], valid)[FEATURE]
    mean, deviation = objective.features.statistics(FEATURE, natural, valid[..., None])
    predicted = objective.masked_decoder(read_level(encoded, objective.masked_level))[FEATURE]
    filled = torch.where(masked[:, None], predicted * deviation + mean, natural)  # (1, T, F)
    return Filled(natural[0] * _DECIBELS, filled[0] * _DECIBELS, masked)
