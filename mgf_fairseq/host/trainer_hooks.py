"""Report to the heartbeat what fairseq's trainer is doing, and end all ranks when memory is short.

patches.py wraps the trainer's methods with these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..utils.distributed import RankError, is_distributed
from .heartbeat import enter


def reporting(during: str, after: str | None = None, ahead: int = 0) -> Callable[[Any], Any]:
    """Wrap a method of the trainer so that the heartbeat knows the phase.

    Args:
        during: the phase while the method runs; `{}` is the number of updates.
        after: the phase that follows; None for the one before.
        ahead: added to the number of updates in `during`.
    """

    def wrap(method: Any) -> Any:
        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            before = enter(during.format(self.get_num_updates() + ahead))
            result = method(self, *args, **kwargs)
            enter(before if after is None else after.format(self.get_num_updates()))
            return result

        return wrapped

    return wrap


def ending_all(log_oom: Any) -> Any:
    """Wrap what fairseq calls before it skips a batch for which memory was too small.

    The other ranks need this rank's sums for the same batch, so skipping it would block them.
    """

    @functools.wraps(log_oom)
    def wrapped(self: Any, exc: Exception) -> None:
        log_oom(self, exc)
        if not is_distributed():
            return
        raise RankError(
            f"{str(exc).splitlines()[0]} Lower dataset.max_tokens; optimization.update_freq "
            "makes up for it"
        ) from exc

    return wrapped
