"""Group utterances into batches with little padding.

Scoring and feature extraction plan with `plan_batches`; training plans in the dataset, by its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def plan_batches(
    num_samples: Sequence[int], max_samples: int, one_by_one: bool = False
) -> Iterator[list[int]]:
    """Group line numbers by length so that a padded batch holds at most ``max_samples`` samples."""
    batch: list[int] = []
    for index in sorted(range(len(num_samples)), key=lambda i: (num_samples[i], i)):
        full = (len(batch) + 1) * num_samples[index] > max_samples
        if batch and (full or one_by_one):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def rounded_to_buckets(sizes: NDArray[np.int64], num_buckets: int) -> NDArray[np.int64]:
    """Round each size up to the edge of its bucket, so that batches differ between epochs.

    Buckets hold equal numbers of utterances; 0 buckets keep the sizes, and so the least padding.
    """
    if num_buckets == 0 or len(sizes) == 0:
        return sizes
    edges = np.quantile(sizes, np.linspace(0, 1, num_buckets + 1)[1:], method="higher").astype(
        np.int64
    )
    rounded: NDArray[np.int64] = edges[np.searchsorted(edges, sizes)]
    return rounded
