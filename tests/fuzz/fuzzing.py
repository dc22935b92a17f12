"""What the fuzz tests share: how many cases, how valid bytes are spoiled, and what may come of it.

`MGF_FUZZ=20000 pytest tests/fuzz` runs so many new cases of each; without it, a few that are
always the same.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("MGF_FUZZ", "0"))
CPU_SECONDS, SECONDS = 10, 60  # of computing, and of waiting on a busy machine
STUCK_SECONDS = 180  # in a library, where no exception reaches; it ends the tests
MEGABYTES = 1024  # address space beyond what the process has, so that a lying size shows
_LONGEST_MESSAGE = 2000


class Hang(BaseException):
    """It takes too long; no exception that anything but a test would catch."""


def cases(few: int) -> settings:
    """So many cases, always the same ones; or `MGF_FUZZ` new ones."""
    return settings(
        max_examples=CASES or few,
        derandomize=not CASES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def bounded() -> Iterator[None]:
    """Let nothing hang, or take gigabytes because a file says so."""

    def stop(number: int, frame: Any) -> None:
        raise Hang(f"it takes more than {CPU_SECONDS} s of computing, or {SECONDS} s in all")

    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    signal.alarm(SECONDS)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEGABYTES * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def outcome(call: Callable[[], Any], errors: Any, naming: str) -> tuple[Any, str]:
    """What `call` gives, or what it says in one of `errors`, which must name the culprit.

    Any other exception, a hang and a huge allocation go through, and fail the test.
    """
    with bounded():
        try:
            return call(), ""
        except errors as error:
            message = str(error)
    assert naming in message, f"{naming!r} is not named: {message[:500]}"
    assert len(message) < _LONGEST_MESSAGE, message[:500]
    return None, message


def spoiled(valid: bytes, nasty: Sequence[bytes], within: int = 0) -> st.SearchStrategy[bytes]:
    """`valid` after a few edits: pieces put in, written over, taken out, doubled, or an end cut.

    Args:
        valid: bytes to begin with.
        nasty: pieces that are likely to hurt.
        within: only the first bytes are edited; 0 for all.
    """
    piece = st.one_of(st.sampled_from(list(nasty)), st.binary(max_size=8))
    kinds = st.sampled_from(["insert", "overwrite", "remove", "double", "cut"])
    edits = st.lists(st.tuples(kinds, st.floats(0, 1), piece), min_size=0, max_size=5)
    return edits.map(lambda chosen: _edited(valid, chosen, within))


def _edited(valid: bytes, edits: Sequence[tuple[str, float, bytes]], within: int) -> bytes:
    data = valid
    for kind, share, piece in edits:
        at = int(share * min(within or len(data), len(data)))
        size = max(1, len(piece))
        if kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "overwrite":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "remove":
            data = data[:at] + data[at + size :]
        elif kind == "double":
            data = data[: at + size] + data[at:]
        else:
            data = data[:at]
    return data
