"""How much the encoder's levels vary over frames: a number per level that shows a collapse."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from ..types import EncoderOutput

# Added to a variance, so that one of exactly 0 has an inverse; far below what fp32 rounding leaves.
_TINY = 1e-30


@torch.no_grad()
def feature_deviation(encoded: EncoderOutput) -> dict[str, Tensor]:
    """Measure how much each level (B, T, D) varies: a scalar, by the level's name.

    It is the mean over channels of the standard deviation over valid frames. Near zero means
    collapse: the encoder gives the same output for any input. The least is 1e-15, where no channel
    varies at all.
    """
    levels = {"latents": encoded.latents, "context": encoded.context}
    levels |= {f"layer{number}": x for number, x in enumerate(encoded.hidden_states)}
    frames = encoded.selected.get("all")
    if frames is None:  # nobody knows: a GPU must be waited for
        frames = (~encoded.padding_mask).flatten().nonzero()[:, 0]
    inverse = {name: _inverse_deviation(x, frames) for name, x in levels.items()}
    of_width: dict[int, list[str]] = defaultdict(list)
    for name, values in inverse.items():
        of_width[len(values)].append(name)
    found: dict[str, Tensor] = {}
    for names in of_width.values():
        together = torch.stack([inverse[name] for name in names]).reciprocal().mean(dim=1)
        found |= zip(names, together.unbind(), strict=True)
    return {name: found[name] for name in levels}


def _inverse_deviation(x: Tensor, frames: Tensor) -> Tensor:
    """One over the standard deviation of each channel of (B, T, D) over some frames (M,): (D,).

    Batch norm finds it in one operation, in two passes over the values; at most 1e15.
    """
    flat = x.flatten(0, 1)
    valid = flat if len(frames) == len(flat) else flat.index_select(0, frames)
    found = torch.native_batch_norm(valid.float(), None, None, None, None, True, 0.0, _TINY)
    inverse: Tensor = found[2]
    return inverse
