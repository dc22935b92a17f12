"""The level of the encoder that an objective reads, and the frames of it that count.

Objectives call these functions; levels are named latents, context, a number or a percentage.
"""

from __future__ import annotations

from torch import Tensor

from ..types import EncoderOutput, EncoderShape


def resolve_level(level: str, shape: EncoderShape, field: str = "level") -> str:
    """Turn a share of the depth, such as ``50%``, into a layer number; leave the rest as it is.

    Raises:
        ValueError: no such level.
    """
    if level in ("latents", "context"):
        return level
    share = level.removesuffix("%")
    if share.isdecimal():
        layer = int(share) if share == level else round(int(share) / 100 * shape.num_layers)
        if layer <= shape.num_layers:
            return str(layer)
    raise ValueError(
        f"{field}={level!r} is neither latents, context, a layer from 0 to {shape.num_layers}, "
        "nor a share of the depth such as 50%"
    )


def level_dim(level: str, shape: EncoderShape) -> int:
    """Width of a resolved level: C for latents, D above."""
    return shape.latent_dim if level == "latents" else shape.embed_dim


def read_level(encoded: EncoderOutput, level: str) -> Tensor:
    """Take a resolved level of the encoder: (B, T, C) for latents, (B, T, D) above."""
    if level == "latents":
        return encoded.latents
    return encoded.context if level == "context" else encoded.hidden_states[int(level)]


def place_selected(encoded: EncoderOutput, frames: str) -> Tensor:
    """Number the frames that count among all B * T: (M,) int64, in order.

    The encoder knows them from the host. Where it does not, a GPU must be waited for.
    """
    if frames in encoded.selected:
        return encoded.selected[frames]
    return select_frames(encoded, frames).flatten().nonzero()[:, 0]  # (B, T) -> (M,)


def take_frames(values: Tensor, index: Tensor) -> Tensor:
    """Take these of all B * T frames: (B, T, D) -> (M, D)."""
    return values.flatten(0, 1).index_select(0, index)


def select_frames(encoded: EncoderOutput, frames: str) -> Tensor:
    """Mark the frames that count: (B, T) bool, never padding."""
    valid = ~encoded.padding_mask
    if frames == "masked":
        return valid & encoded.mask_indices
    return valid & ~encoded.mask_indices if frames == "visible" else valid
