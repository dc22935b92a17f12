"""Batches in which no two items carry the same label: an utterance, or a speaker.

Called by the dataset when it makes batches; reads the speakers' labels that lie beside manifests.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .entries import ManifestError
from .label_lines import read_label_lines

DISTINCT = ("utterance", "speaker", "none")


def read_speakers(manifests: Sequence[str], lengths: Sequence[int]) -> NDArray[np.int64]:
    """Number the speakers of ``<split>.spk`` beside each ``<split>.tsv``: (N of all,).

    Speakers of different corpora are different, even under the same name.

    Raises:
        ManifestError: there is no such file, or it does not have one line per utterance.
    """
    numbers: dict[tuple[int, str], int] = {}
    found: list[int] = []
    for corpus, (manifest, length) in enumerate(zip(manifests, lengths, strict=True)):
        path = Path(manifest).with_suffix(".spk")
        if not path.is_file():
            raise ManifestError(
                f"task.distinct=speaker needs {path}; 'mgf prepare ... --labels spk' writes it "
                "where the corpus names speakers, or set task.distinct=utterance"
            )
        lines = read_label_lines(Path(manifest), "spk", length)
        found += [numbers.setdefault((corpus, name), len(numbers)) for name in lines]
    return np.array(found, np.int64)


def plan_distinct(
    sizes: NDArray[np.int64],
    labels: NDArray[np.int64],
    buckets: NDArray[np.int64],
    max_tokens: int | None,
    max_sentences: int | None,
) -> list[NDArray[np.int64]]:
    """Group items into batches that hold each label once; every item comes exactly once.

    A batch takes the labels with the most items waiting, so that few batches at the end are small.
    Items that remain of a bucket wait for the next one. The result depends on the order alone.

    Args:
        sizes: (N,) samples of each item; at most ``max_tokens``, which a batch holds of its largest
            item times their number.
        labels: (N,) what must not come twice in a batch.
        buckets: (N,) equal numbers lie beside each other and may share batches freely.
        max_tokens: samples of a batch, or None.
        max_sentences: items of a batch, or None.

    Returns:
        positions 0 .. N - 1, batch by batch.
    """
    waiting = _Waiting(sizes.tolist(), labels.tolist(), max_tokens, max_sentences)
    batches: list[NDArray[np.int64]] = []
    edges = [0, *(np.flatnonzero(np.diff(buckets)) + 1).tolist(), len(buckets)]
    for begin, end in pairwise(edges):
        waiting.add(range(begin, end))
        while (batch := waiting.take(only_full=end < len(buckets))) is not None:
            batches.append(np.array(batch, np.int64))
    return batches


class _Waiting:
    """Items that wait for a batch, by label; the label with the most items comes first."""

    def __init__(
        self,
        sizes: list[int],
        labels: list[int],
        max_tokens: int | None,
        max_sentences: int | None,
    ) -> None:
        self.sizes, self.labels = sizes, labels
        self.max_tokens = max_tokens or sum(sizes) * len(sizes)
        self.max_items = max_sentences or len(sizes)
        self.queues: dict[int, deque[int]] = {}
        self.heap: list[tuple[int, int, int]] = []  # (-items, first item, label); some outdated

    def add(self, positions: range) -> None:
        """Add items that wait."""
        touched = {self.labels[position]: None for position in positions}
        for position in positions:
            self.queues.setdefault(self.labels[position], deque()).append(position)
        for label in touched:
            self._push(label)

    def _push(self, label: int) -> None:
        queue = self.queues[label]
        if queue:
            heapq.heappush(self.heap, (-len(queue), queue[0], label))

    def _is_current(self, entry: tuple[int, int, int]) -> bool:
        queue = self.queues[entry[2]]
        return bool(queue) and entry[:2] == (-len(queue), queue[0])

    def take(self, only_full: bool) -> list[int] | None:
        """Take a batch; None if no items wait, or too few for a full one."""
        chosen: list[tuple[int, int, int]] = []
        longest, full = 0, False
        while self.heap and not full:
            entry = heapq.heappop(self.heap)
            if not self._is_current(entry):
                continue
            larger = max(longest, self.sizes[entry[1]])
            num = len(chosen) + 1
            full = bool(chosen) and (num > self.max_items or larger * num > self.max_tokens)
            if full:
                heapq.heappush(self.heap, entry)
            else:
                chosen.append(entry)
                longest = larger
        if not chosen or (only_full and not full):
            for entry in chosen:
                heapq.heappush(self.heap, entry)
            return None
        for _, _, label in chosen:
            self.queues[label].popleft()
            self._push(label)
        return [position for _, position, _ in chosen]
