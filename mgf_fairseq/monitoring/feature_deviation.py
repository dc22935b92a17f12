"""How much the encoder's levels vary over frames: a number per level that shows a collapse."""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import EncoderOutput


@torch.no_grad()
def feature_deviation(encoded: EncoderOutput) -> dict[str, Tensor]:
    """Measure how much each level (B, T, D) varies: a scalar, by the level's name.

    It is the mean over channels of the standard deviation over valid frames. Near zero means
    collapse: the encoder gives the same output for any input.
    """
    levels = {"latents": encoded.latents, "context": encoded.context}
    levels |= {f"layer{number}": x for number, x in enumerate(encoded.hidden_states)}
    share = ~encoded.padding_mask[..., None] / encoded.num_frames.sum()  # (B, T, 1), sums to 1
    return {name: _deviation(x.float(), share) for name, x in levels.items()}


def _deviation(x: Tensor, share: Tensor) -> Tensor:
    """Mean over channels of the standard deviation of (B, T, D) under weights (B, T, 1)."""
    mean = (x * share).sum(dim=(0, 1))
    return ((x - mean).square() * share).sum(dim=(0, 1)).sqrt().mean()
