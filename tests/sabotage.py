"""What may go wrong in one rank of a training, for the tests to plant; each needs no argument.

The server of trainings.py calls one in the process that is to fail, before fairseq begins.
"""

import functools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.task import MgfPretrainingTask

AT_UPDATE = 2


def _in_training(fault: Callable[[], None]) -> None:
    step = MgfPretrainingTask.train_step

    @functools.wraps(step)
    def wrapped(self: Any, *, update_num: int, **given: Any) -> Any:
        if update_num + 1 == AT_UPDATE:
            fault()
        return step(self, update_num=update_num, **given)

    MgfPretrainingTask.train_step = wrapped  # type: ignore[method-assign]


def _in_reading(fault: Callable[[], None]) -> None:
    read = MgfDataset.__getitem__

    @functools.wraps(read)
    def wrapped(self: Any, index: int) -> Any:
        if self.shuffle and self.epoch > 1:
            fault()
        return read(self, index)

    MgfDataset.__getitem__ = wrapped  # type: ignore[method-assign]


def _raise(error: Exception) -> None:
    raise error


def assertion() -> None:
    _in_training(lambda: _raise(AssertionError("planted")))


def out_of_memory() -> None:
    _in_training(lambda: _raise(RuntimeError("CUDA out of memory. Tried to allocate 2 TiB.")))


def kill() -> None:
    _in_training(lambda: os.kill(os.getpid(), signal.SIGKILL))


def worker_error() -> None:
    _in_reading(lambda: _raise(AssertionError("planted in a worker")))


def stuck_reading() -> None:
    _in_reading(lambda: time.sleep(1000))
