"""What may go wrong in one rank of a training, for the tests to plant; each needs no argument.

The server of trainings.py calls one in the process that is to fail, before fairseq begins.
"""

import ctypes
import functools
import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.task import MgfPretrainingTask

AT_UPDATE = 2


def _in_training(fault: Callable[[], None], update: int = AT_UPDATE) -> None:
    step = MgfPretrainingTask.train_step

    @functools.wraps(step)
    def wrapped(self: Any, *, update_num: int, **given: Any) -> Any:
        if update_num + 1 == update:
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


def at_a_moment() -> None:
    """Send this process and its workers a signal, when MGF_TEST_MOMENT says so.

    "SIGTERM update 3": as the third update begins. "SIGKILL write 2": when half of the second file
    that is saved is on the disk, under the name that unfinished files have.
    """
    name, when, number = os.environ["MGF_TEST_MOMENT"].split()
    own_signal, count = getattr(signal, name), itertools.count(1)

    def strike() -> None:
        os.killpg(os.getpgid(0), own_signal)

    if when == "update":
        _in_training(strike, int(number))
        return
    write = torch.save

    def write_half(state: Any, path: str) -> None:
        write(state, path)
        if next(count) == int(number):
            os.truncate(path, os.path.getsize(path) // 2)
            strike()

    torch.save = write_half  # type: ignore[assignment]


def other_network() -> None:
    """Enter the network namespace that MGF_TEST_NETWORK names."""
    new_network = 0x40000000  # CLONE_NEWNET
    handle = os.open(f"/run/netns/{os.environ['MGF_TEST_NETWORK']}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, new_network):
        raise OSError(ctypes.get_errno(), "setns")
