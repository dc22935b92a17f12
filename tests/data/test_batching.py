"""Batches within a limit."""

from __future__ import annotations

from mgf_fairseq.data.batching import plan_batches


def test_batches_cover_each_line_once_within_the_limit() -> None:
    lengths = [5, 9, 2, 7, 30]
    batches = list(plan_batches(lengths, 18))
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4]
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 18 for b in batches)
