"""Progress: what library functions report while they work, and the bars that show it.

A function that takes long has a parameter ``progress: Progress = silent`` and calls it as
``progress("read audio", done, total)``. Only commands make bars: redrawn in place on a terminal,
one line a minute in the log of a batch job.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

from tqdm import tqdm

_UNITS = dict.fromkeys(("read audio", "reading headers", "converting", "look"), " files")
_UNITS |= dict.fromkeys(("extract", "transcribe", "classify"), " s of audio") | dict.fromkeys(
    ("pack", "download", "unpack"), " MB"
)
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class Progress(Protocol):
    """Called after each piece of work; `Bars` shows it."""

    def __call__(self, what: str, done: float, total: float, /) -> object:
        """`done` of `total` is finished of what is being done; a new `what` is a new stage."""


class Beat(Protocol):
    """Called often during work whose length is unknown, to show that it has not stopped."""

    def __call__(self) -> object:
        """One more piece is finished."""


def silent(what: str, done: float, total: float, /) -> None:
    """A `Progress` that shows nothing."""


def no_beat() -> None:
    """A `Beat` that nobody listens to."""


EVERY_S = 60.0


def bar(**options: Any) -> tqdm[None]:
    """Make a tqdm bar on standard error; in a log, it writes a line each minute and at its end.

    With ``leave=False`` it writes nothing to a log within its first minute.
    """
    return tqdm(**options) if sys.stderr.isatty() else _LogBar(**options)


def clear_below() -> None:
    """Remove what bars side by side leave below the cursor of a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[J")
        sys.stderr.flush()


class _Lines:
    """A stream on which each redrawing becomes a line of its own."""

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

    def moveto(self, n: int) -> None:
        """Stay: a line of several bars in a log needs no way back to it."""

    def refresh(self, *args: Any, **kwargs: Any) -> bool:
        """Write the line, if a minute has passed."""
        now = time.monotonic()
        if now < self.due:
            return False
        self.due = now + EVERY_S
        return bool(super().refresh(*args, **kwargs))


class Bars:
    """A `Progress` that shows one bar at a time, which is removed when its stage is over."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix, self._what = prefix, ""
        self._bar: tqdm[None] | None = None

    def __call__(self, what: str, done: float, total: float) -> None:
        """Show that `done` of `total` is finished; a new `what` begins a new bar."""
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

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """Write a line above the bar, by default on standard error."""
        stream = stream or sys.stderr
        with tqdm.external_write_mode(file=stream):
            stream.write(f"{text}\n")
            stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
