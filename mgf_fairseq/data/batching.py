"""Group utterances of a manifest into batches with little padding, for inference.

Scoring and feature extraction plan with it; training has its own, seeded batches in the dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


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
