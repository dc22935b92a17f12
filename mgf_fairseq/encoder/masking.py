"""Span masks over frames and channels, each a function of (seed, update, row) and nothing else.

The model asks for one mask per row before the Transformer; no global random state is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..utils.rng import generator

SELECTIONS = ("static", "uniform", "normal", "poisson")
_MOST = 5.0  # as `prob`: 99 % of the positions; a percentage in its place is a mistake
_MIN_SPACE = 1  # positions between spans that may not overlap


@dataclass(frozen=True)
class SpanMask:
    """How spans are laid over one axis (fairseq ``data_utils.compute_mask_indices``).

    ``prob`` is the share of positions that would be masked if spans never overlapped, so it may be
    above 1; with overlap the masked share is about ``1 - exp(-prob)``. A span never covers the
    whole row: rows of ``length`` positions or fewer stay unmasked.
    """

    prob: float
    length: int
    selection: str = "static"  # distribution of span lengths
    other: float = 0.0  # second parameter of that distribution
    no_overlap: bool = False
    min_spans: int = 0  # however short the row, if it is longer than a span
    name: str = "mask"  # that the settings begin with

    def __post_init__(self) -> None:
        if not 0.0 <= self.prob <= _MOST:
            raise ValueError(f"{self.name}_prob={self.prob} must lie between 0 and {_MOST:g}")
        if self.length < 1:
            raise ValueError(f"{self.name}_length={self.length} must be at least 1")
        if self.selection not in SELECTIONS:
            raise ValueError(
                f"{self.name}_selection={self.selection!r} is none of {', '.join(SELECTIONS)}"
            )
        most = 2 * self.length if self.selection == "uniform" else math.inf
        if not (0.0 <= self.other <= most and math.isfinite(self.other)):
            raise ValueError(
                f"{self.name}_other={self.other} must be from 0 to {most:g} "
                f"for {self.name}_selection={self.selection}"
            )

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one row: ``size`` positions -> (size,) bool, True = masked."""
        mask = np.zeros(size, dtype=np.bool_)
        if self.prob == 0.0 or size <= self.length:
            return mask
        # Rounding up with the leftover probability keeps the expected number of spans exact.
        num_spans = max(self.min_spans, int(self.prob * size / self.length + rng.random()))
        if num_spans == 0:
            return mask
        lengths = self._lengths(num_spans, size, rng)
        starts = (
            self._disjoint_starts(lengths, size, rng)
            if self.no_overlap
            else _free_starts(lengths, size, rng)
        )
        for start, length in zip(starts, lengths, strict=False):
            mask[start : start + length] = True
        return mask

    def _lengths(self, num: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw span lengths: (num,) in 1 .. size - 1."""
        if self.selection == "uniform":
            lengths = rng.integers(int(self.other), 2 * self.length + 1, num).astype(np.float64)
        elif self.selection == "normal":
            lengths = rng.normal(self.length, self.other, num)
        elif self.selection == "poisson":
            lengths = rng.poisson(self.length, num).astype(np.float64)
        else:
            lengths = np.full(num, float(self.length))
        return np.asarray(np.clip(np.rint(lengths), 1, size - 1), dtype=np.int64)

    def _disjoint_starts(
        self, lengths: NDArray[np.int64], size: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Place as many spans as fit without touching: the free positions are dealt out."""
        needed = np.cumsum(lengths) + _MIN_SPACE * np.arange(len(lengths))
        fitting = lengths[needed < size]
        slack = size - int(fitting.sum()) - _MIN_SPACE * max(0, len(fitting) - 1)
        gaps = np.sort(rng.integers(0, slack + 1, len(fitting)))
        before = np.concatenate([[0], np.cumsum(fitting[:-1] + _MIN_SPACE)])
        return np.asarray(gaps + before[: len(fitting)], dtype=np.int64)


def _free_starts(
    lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Place spans anywhere they fit, no two starting at one position."""
    latest = size - int(lengths.max())
    num = min(len(lengths), latest + 1)
    return rng.choice(latest + 1, num, replace=False).astype(np.int64)


def draw_masks(
    spans: SpanMask,
    sizes: Sequence[int],
    width: int,
    *,
    seed: int,
    update: int,
    rows: Sequence[int],
    axis: int = 0,
) -> NDArray[np.bool_]:
    """Draw the masks of a batch: B sizes -> (B, width) bool, never beyond a row's size."""
    masks = np.zeros((len(sizes), width), dtype=np.bool_)
    for index, (size, row) in enumerate(zip(sizes, rows, strict=True)):
        masks[index, :size] = spans.draw(size, generator(seed, row, update, axis))
    return masks
