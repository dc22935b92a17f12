"""Lets the ranks of a training wait for each other for as long as the training's settings say.

patches.py wraps the two functions of torch that make process groups; the launcher sets the time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

MARGIN_S = 60.0  # that collectives wait longer than the heartbeat, whose error says more

_timeout: timedelta | None = None  # None: torch's own default


def with_timeout(make: Any) -> Any:
    """Wrap a function that makes a process group, so that its collectives wait for so long."""

    @functools.wraps(make)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _timeout is not None:
            kwargs.setdefault("timeout", _timeout)
        return make(*args, **kwargs)

    return wrapped


@contextmanager
def patient_collectives(patience_s: float) -> Iterator[None]:
    """Set the timeout of process groups made here; torch's own default if 0 or less."""
    global _timeout
    if patience_s > 0:
        _timeout = timedelta(seconds=patience_s + MARGIN_S)
    try:
        yield
    finally:
        _timeout = None
