"""Decoded audio in memory that a loader's processes share: `task.cache`.

Beside the dataset. An utterance is kept when it is read first, by whichever process reads it; the
memory is reserved before these are forked, so that it exists once.
"""

from __future__ import annotations

import logging
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from ..utils.memory import GIB, available_memory
from .audio import AudioError, AudioReader
from .sample_counts import slack

logger = logging.getLogger(__name__)

CACHES = {"none": None, "int16": np.dtype(np.int16), "float32": np.dtype(np.float32)}
_SHARE = 0.8  # of the memory that is free; the rest is for the training
_UNREAD, _REFUSED = 0, -1  # in place of a length


class KeptAudio:
    """One utterance in memory."""

    def __init__(self, samples: npt.NDArray[Any]) -> None:
        self._samples = samples
        self.num_samples = len(samples)

    def read(self, start: int, num_samples: int) -> npt.NDArray[np.float32]:
        """Copy `num_samples` samples from `start` on: (S,) fp32."""
        part = self._samples[start : start + num_samples]
        # int16 becomes -1 to 1 by a power of two, so nothing is rounded.
        scale = np.float32(2**-15 if part.dtype == np.int16 else 1)
        copy: npt.NDArray[np.float32] = np.multiply(part, scale, dtype=np.float32)
        return copy


class AudioCache:
    """The utterances of a dataset, each stored once it was read.

    int16 holds what 16 bits hold exactly, so batches are the same with and without; what would
    lose precision is read from its file each time. float32 holds everything.
    """

    def __init__(
        self, name: str, num_samples: npt.NDArray[np.int64], sample_rate: int, processes: int = 1
    ) -> None:
        """Reserve memory; pages are taken as they are written.

        Args:
            name: of the cache: int16 or float32.
            num_samples: (N,) of all utterances, 0 where one is never read.
            sample_rate: Hz.
            processes: ranks on this machine, each with a cache of its own.

        Raises:
            ValueError: it does not fit.
        """
        dtype = CACHES[name]
        assert dtype is not None
        self.name = name
        room = np.where(num_samples > 0, num_samples + slack(num_samples), 0)
        self._ends = np.cumsum(room)
        needed = int(room.sum()) * dtype.itemsize
        _require_room(name, needed, processes)
        self._samples = np.frombuffer(mmap.mmap(-1, max(1, needed)), dtype, int(room.sum()))
        self._lengths = np.frombuffer(mmap.mmap(-1, 8 * len(room)), np.int64, len(room))
        self._warned = False
        logger.info(
            "task.cache=%s: up to %.2f GiB of memory for %.2f h",
            name,
            needed / GIB,
            num_samples.sum() / sample_rate / 3600,
        )

    def __getstate__(self) -> dict[str, Any]:
        raise ValueError(
            f"task.cache={self.name} needs loader processes that are forked; set "
            "dataset.num_workers=0 or task.cache=none here"
        )

    def kept(self, line: int) -> KeptAudio | None:
        """The utterance, if it is in memory."""
        length = int(self._lengths[line])
        if length in (_UNREAD, _REFUSED):
            return None
        return KeptAudio(self._room(line)[:length])

    def keep(self, line: int, reader: AudioReader) -> KeptAudio | AudioReader:
        """Store an utterance that is read for the first time; gives what to read it from.

        One that cannot be stored is read from its file, now and later.
        """
        if self._lengths[line] == _REFUSED:
            return reader
        room = self._room(line)
        try:
            waveform = reader.read() if reader.num_samples <= len(room) else None
        except AudioError:  # a crop may still be readable
            waveform = None
        if waveform is None or not self._store(waveform, room[: len(waveform)]):
            self._lengths[line] = _REFUSED
            if waveform is not None:
                self._warn(reader.entry)
            return reader
        self._lengths[line] = len(waveform)  # last: from now on others read it
        return KeptAudio(room[: len(waveform)])

    def _room(self, line: int) -> npt.NDArray[Any]:
        return self._samples[self._ends[line - 1] if line else 0 : self._ends[line]]

    def _store(self, waveform: npt.NDArray[np.float32], room: npt.NDArray[Any]) -> bool:
        """Write the samples, if the room's type holds them exactly."""
        if room.dtype == np.float32:
            room[:] = waveform
            return True
        scaled = waveform * np.float32(2**15)
        if len(scaled) and not (scaled.min() >= -(2**15) and scaled.max() <= 2**15 - 1):
            return False
        whole = scaled.astype(np.int16)
        if not np.array_equal(whole, scaled):
            return False
        room[:] = whole
        return True

    def _warn(self, entry: str) -> None:
        """Log the first utterance of this process that 16 bits do not hold."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "task.cache=%s: %s is not kept, nor is anything else that 16 bits do not hold "
                "exactly (24 bits, float, mp3, Ogg, several channels, another rate): it is read "
                "from its file each time; task.cache=float32 keeps all, in twice the memory",
                self.name,
                entry,
            )


def _require_room(name: str, needed: int, processes: int) -> None:
    free = available_memory()
    if free is None or needed * processes <= _SHARE * free:
        return
    each = f" for each of {processes} processes" if processes > 1 else ""
    raise ValueError(
        f"task.cache={name} needs {needed / GIB:.2f} GiB of memory{each}, and {free / GIB:.2f} GiB "
        f"are free, of which it may take {_SHARE:.0%}; set task.cache=none, or train fewer hours"
    )
