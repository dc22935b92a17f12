"""Sub-processes that end with this one: no training outlives the command that started it.

The grid and the quickstart start their steps through here, from any thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

GRACE_S = 120.0  # a training saves before it ends


class Children:
    """Used as a context, it passes SIGTERM and Ctrl-C to all that was started in it.

    Each child leads a process group of its own, which is asked to end, and is killed if it does
    not in time; then the signal ends this program as it would any other.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the handler may run while the main thread holds it
        self._running: list[subprocess.Popen[Any]] = []
        self._before: dict[int, Any] = {}
        self._ending = False

    @property
    def ending(self) -> bool:
        """Whether all have been asked to end; true before the first of them hears of it."""
        return self._ending

    def start(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """As ``subprocess.Popen``; one that is started too late is ended at once."""
        with self._lock:
            process = subprocess.Popen(words, start_new_session=True, **options)
            self._running = [p for p in self._running if p.poll() is None]
            self._running.append(process)
            if self._ending:
                self._send(signal.SIGTERM)
        return process

    def end(self) -> None:
        """Ask all to end; those that have not after `GRACE_S` are killed."""
        self._ending = True
        self._send(signal.SIGTERM)
        timer = threading.Timer(GRACE_S, self._send, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _send(self, number: int) -> None:
        with self._lock:
            for process in self._running:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.end()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def __enter__(self) -> Children:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and not self._ending:
            self.end()
        for process in self._running:
            process.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)
