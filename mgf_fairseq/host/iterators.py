"""The batch iterators of training: batches in order, a dummy batch that can be read, timed reading.

The task hands them to fairseq, which draws its batches from them.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from fairseq.data.iterators import CountingIterator, EpochBatchIterator
from fairseq.logging import metrics

from ..data.entries import ManifestError
from ..utils.distributed import require_alike
from .heartbeat import moved

MAX_DUMMY_TRIES = 100


class MgfBatchIterator(EpochBatchIterator):
    """fairseq's epoch iterator with a dummy batch that is readable and marked as such.

    A rank without a batch of its own (at the end of an epoch, in validation, or where no file of a
    batch could be read) runs the dummy to keep step with the others.
    """

    clock: StepClock | None = None

    @property
    def first_batch(self) -> dict[str, Any]:
        """Collate the first batch that can be read, as one that counts for nothing."""
        for indices in self.frozen_batches[:MAX_DUMMY_TRIES]:
            # Not by the collater, which would count utterances that were skipped elsewhere again.
            batch = self.dataset.collate([self.dataset[index] for index in indices])
            if batch:
                return without_weight(batch)
        raise ManifestError(
            f"not one of {len(self.frozen_batches)} batches could be read (see the warnings "
            "above); run 'mgf check' on the data"
        )

    def _filled(self, batch: dict[str, Any]) -> dict[str, Any]:
        moved()  # also where fairseq only reads, before it trains
        return batch or self.first_batch

    def _get_iterator_for_epoch(self, *args: Any, **kwargs: Any) -> Any:
        """Make fairseq's iterator, timed if a clock is given (training's is, validation's not).

        Raises:
            RankError: ranks have other batches than each other, and so would wait for ever.
        """
        if self.num_shards > 1:
            indices = np.concatenate([np.asarray(batch, np.int64) for batch in self.frozen_batches])
            require_alike(
                "the number or order of batches (do all machines have the same manifests and "
                "settings?)",
                number=len(self.frozen_batches),
                checksum=zlib.crc32(indices.tobytes()),
            )
        iterator = super()._get_iterator_for_epoch(*args, **kwargs)
        if iterator is None:
            return None
        # fairseq puts a dummy in the place of an empty batch too, but then forgets what else this
        # rank has in the update.
        iterator._itr = map(self._filled, iterator._itr)
        if self.clock is not None:
            iterator.__class__ = TimedIterator
            iterator.clock = self.clock
        return iterator


def without_weight(batch: dict[str, Any]) -> dict[str, Any]:
    """Mark a batch that a rank runs only to keep step with the others: it counts for nothing."""
    net_input = dict(batch["net_input"])
    net_input["utterance"] = torch.full_like(net_input["utterance"], -1)
    if "rows" in net_input:
        net_input["rows"] = replace(net_input["rows"], counted=())
    return {**batch, "net_input": net_input, "ignore": True}


class StepClock:
    """Seconds that this rank waited for batches, and seconds that it worked on them."""

    def __init__(self) -> None:
        self._waited = self._worked = 0.0
        self._began: float | None = None

    def wait(self, seconds: float) -> None:
        """Add to the wait for the next update's batches."""
        self._waited += seconds

    def begin(self) -> dict[str, float]:
        """Begin to work on a batch; hand over the wait for it and the time since the last.

        A second micro-batch of an update, which came with the first, hands over zeros.
        """
        waited, worked = self._waited, self._worked
        self._waited = self._worked = 0.0
        if self._began is None:
            self._began = time.perf_counter()
        return {"wait_s": waited, "step_s": waited + worked}

    def end(self) -> None:
        """End an update."""
        if self._began is not None:
            self._worked += time.perf_counter() - self._began
        self._began = None


class TimedIterator(CountingIterator):
    """fairseq's iterator over batches, telling a clock how long each one was waited for."""

    clock: StepClock

    def __next__(self) -> Any:
        begin = time.perf_counter()
        try:
            return super().__next__()
        finally:
            self.clock.wait(time.perf_counter() - begin)


def log_data_wait(logs: list[dict[str, Any]]) -> None:
    """Log `data_wait`, the share of the time spent waiting for batches: the mean over ranks."""
    waited = sum(float(log.get("wait_s", 0.0)) for log in logs)
    seconds = sum(float(log.get("step_s", 0.0)) for log in logs)
    if seconds > 0.0:
        metrics.log_scalar("data_wait", waited / seconds, seconds, round=4)
