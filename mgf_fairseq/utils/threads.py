"""Apply a function to many items on several threads, in order, with few of them under way.

Used wherever the files of a whole corpus are read; a million of them must neither be queued as a
million tasks nor outlive an interrupt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .progress import Progress

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 256  # tasks under way or done beyond the one that is waited for


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `function(item)` for each item, in their order."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[R]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def map_with_progress(
    function: Callable[[T], R], items: Collection[T], workers: int, what: str, progress: Progress
) -> Iterator[tuple[T, R]]:
    """Yield each item with `function(item)`, in their order, and report each to `progress`."""
    results = zip(items, ordered_map(function, items, workers), strict=True)
    for count, pair in enumerate(results, start=1):
        progress(what, count, len(items))
        yield pair
