"""Where the views of an utterance begin, and how long they are.

The dataset cuts by it; all lengths are in samples at the training rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crops:
    """How views are cut: lengths in samples at the training rate.

    An utterance with less room than `views` times `min_samples` gets views of `min_samples`, and
    these overlap: two views of a word of 0.3 s share most of it, so the utterance objective learns
    little from it. What is shorter than `min_samples` is skipped. Views shorter than the longest
    of their batch are padded.
    """

    views: int
    max_samples: int
    min_samples: int

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views={self.views} must be at least 1")
        if not 0 < self.min_samples <= self.max_samples:
            raise ValueError(
                f"min_sample_size={self.min_samples} must be positive and no more than "
                f"max_sample_size={self.max_samples}"
            )

    def length(self, num_samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """(U,) samples -> (U,) of each view: apart where there is room for it, overlapping else."""
        apart = num_samples // self.views
        return np.minimum(np.clip(apart, self.min_samples, self.max_samples), num_samples)

    def starts(self, num_samples: int, length: int, rng: np.random.Generator) -> list[int]:
        """Draw where the views begin, in random order; they overlap only if they must."""
        slack = num_samples - self.views * length
        if slack >= 0:
            gaps = np.sort(rng.integers(0, slack + 1, self.views))
            starts = gaps + length * np.arange(self.views)
        else:
            starts = rng.integers(0, num_samples - length + 1, self.views)
        return [int(start) for start in rng.permutation(starts)]
