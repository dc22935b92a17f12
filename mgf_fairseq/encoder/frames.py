"""Which frames of a batch are valid and which are masked, sent to the device at once.

The host draws the masks and knows all lengths, so no later step asks the device how many frames
count or where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..utils.transfer import to_device
from .padding import padding_mask_of


@dataclass(frozen=True)
class FramePlaces:
    """The fields of the same names of :class:`~mgf_fairseq.types.EncoderOutput`."""

    padding_mask: Tensor  # (B, T) bool, True = padding
    num_frames: Tensor  # (B,) int64
    mask_indices: Tensor  # (B, T) bool, True = masked
    selected: Mapping[str, Tensor]


def place_frames(
    num_frames: Sequence[int], width: int, masked: NDArray[np.bool_] | None, device: torch.device
) -> FramePlaces:
    """Describe B rows of ``width`` frames on the device, in one transfer.

    Args:
        num_frames: B numbers of valid frames.
        width: T.
        masked: (B, T), never on padding; None: nothing is.
        device: where the description is to lie.
    """
    lengths = np.asarray(num_frames, dtype=np.int64)
    if masked is None:
        counts = to_device(lengths, device)
        padding = padding_mask_of(counts, width, device)
        return FramePlaces(padding, counts, torch.zeros_like(padding), {})
    valid = np.arange(width) < lengths[:, None]
    sets = {"masked": masked & valid, "visible": valid & ~masked, "all": valid}
    places = [np.flatnonzero(chosen) for chosen in sets.values()]
    sent = to_device(np.concatenate([lengths, *places]), device)
    counts, *parts = torch.split(sent, [len(lengths), *map(len, places)])
    selected = dict(zip(sets, parts, strict=True))
    marked = torch.zeros(masked.shape, dtype=torch.bool, device=device)
    marked.view(-1).index_fill_(0, selected["masked"], True)
    return FramePlaces(padding_mask_of(counts, width, device), counts, marked, selected)
