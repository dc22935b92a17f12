"""A progress bar for library functions that report (what, done, of how much).

Verbs hand a `Bars` to functions of the library, which know nothing of bars.
"""

from __future__ import annotations

import sys
from typing import TextIO

from tqdm import tqdm

from mgf_fairseq.bars import bar

_UNITS = {"read audio": " files", "look": " files", "pack": " MB"}
_UNITS |= dict.fromkeys(("extract", "transcribe", "classify"), " s of audio")
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}, {rate_noinv_fmt}]"


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

    def say(self, text: str, stream: TextIO | None = None) -> None:
        """Write a line above the bar, by default on standard error."""
        with tqdm.external_write_mode(file=stream or sys.stderr):
            print(text, file=stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
