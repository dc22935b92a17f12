"""Report to the heartbeat what fairseq's trainer is doing, and end all ranks when memory is short.

The launcher applies these wrappers in each rank before training begins.
"""

from __future__ import annotations

import functools
from typing import Any

from ..utils.distributed import RankError
from .heartbeat import at


def follow_trainer() -> None:
    """Let fairseq's trainer tell lockstep where it is; again changes nothing."""
    from fairseq.trainer import Trainer

    if hasattr(Trainer._log_oom, "__wrapped__"):
        return
    waits = "the wait for data after update {}"
    Trainer.train_step = _telling(Trainer.train_step, "update {}", waits, ahead=1)
    Trainer.valid_step = _telling(
        Trainer.valid_step, "validation after update {}", "validation's wait for data, update {}"
    )
    Trainer.save_checkpoint = _telling(Trainer.save_checkpoint, "saving update {}")
    Trainer._log_oom = _ending_all(Trainer._log_oom)


def _telling(method: Any, during: str, after: str | None = None, ahead: int = 0) -> Any:
    """Wrap a method of the trainer so that it says where it is, and where it goes from there."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = at(during.format(self.get_num_updates() + ahead))
        result = method(self, *args, **kwargs)
        at(before if after is None else after.format(self.get_num_updates()))
        return result

    return wrapped


def _ending_all(log_oom: Any) -> Any:
    """Wrap what fairseq calls before it leaves out a batch for which memory was too small.

    The other ranks have that batch's sums to make with this one, so leaving it out would hang.
    """

    @functools.wraps(log_oom)
    def wrapped(self: Any, exc: Exception) -> None:
        log_oom(self, exc)
        raise RankError(
            f"{str(exc).splitlines()[0]} Lower dataset.max_tokens; optimization.update_freq "
            "makes up for it"
        ) from exc

    return wrapped
