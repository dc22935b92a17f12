"""Progress bars: redrawn in place on a terminal, one line a minute in the log of a batch job.

Whoever shows progress takes a bar from here; library functions themselves report to callbacks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

_UNITS = {"read audio": " files", "extract": " s of audio", "look": " files", "pack": " MB"}
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}, {rate_noinv_fmt}]"
Progress = Callable[[str, float, float], object]  # (what is being done, done, of how much)

EVERY_S = 60.0


def bar(**options: Any) -> tqdm[None]:
    """Make a tqdm bar on standard error; off a terminal it speaks once a minute, and at its end.

    One that does not stay at its end (``leave=False``) says nothing there within its first minute.
    """
    return tqdm(**options) if sys.stderr.isatty() else _LogBar(**options)


class _Lines:
    """Writes what would redraw a line as a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> None:
        line = text.replace("\r", "").rstrip()
        if line:
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()


class _LogBar(tqdm):  # type: ignore[misc, type-arg]
    def __init__(self, **options: Any) -> None:
        self.due = time.monotonic() + (0.0 if options.get("leave", True) else EVERY_S)
        options |= {"file": _Lines(sys.stderr), "dynamic_ncols": False}
        super().__init__(**options)

    def refresh(self, *args: Any, **kwargs: Any) -> bool:
        """Show how far it is, if that is due."""
        now = time.monotonic()
        if now < self.due:
            return False
        self.due = now + EVERY_S
        return bool(super().refresh(*args, **kwargs))


class Bars:
    """One bar at a time, named by what is being done, gone when that is over."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix, self._what = prefix, ""
        self._bar: tqdm[None] | None = None

    def __call__(self, what: str, done: float, total: float) -> None:
        """Show that `done` of `total` is done; a new `what` begins a new bar."""
        if self._bar is None or what != self._what:
            self.close()
            self._what = what
            self._bar = bar(
                desc=f"{self._prefix}{what}",
                total=total,
                initial=done,  # a resumed run's rate is its own
                unit=_UNITS.get(what, ""),
                bar_format=_FORMAT,
                leave=False,
            )
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
