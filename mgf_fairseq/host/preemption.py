"""SIGTERM ends a training after the update in progress, saved, on all ranks at the same update.

SLURM sends it before it takes a job's nodes away, or SIGUSR2 where submitit asks for that.
:mod:`mgf_fairseq.host.checkpointing` calls ``listen`` in each rank, once it has resumed.
"""

from __future__ import annotations

import functools
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from typing import Any

from fairseq import checkpoint_utils

from ..checkpoints.files import CheckpointError
from ..utils.distributed import any_rank
from .patching import apply_waiting

logger = logging.getLogger(__name__)

TRAINER = "fairseq_cli.train"
EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports for a process that SIGTERM has ended
REQUEUE = signal.SIGUSR2  # where somebody handles it, submitit: it puts the job back into the queue
# Launchers pass on what SLURM sends to every process, so one request comes as several signals.
SAME_REQUEST_S = 5.0
WORKER_OUTLIVES_S = 300  # seconds


class StopRequest:
    """Requests to stop this process: a first SIGTERM is noted, a second one ends it."""

    def __init__(self) -> None:
        self.received_at: float | None = None
        self.number = 0  # of the signal that came
        self.ever_listened = False
        self.replaced: dict[int, Any] = {}  # signal number -> the handler that was there

    @property
    def received(self) -> bool:
        """Whether it has come."""
        return self.received_at is not None

    def listen(self, numbers: list[int]) -> None:
        """Handle these signals from now on."""
        self.received_at = None
        self.replaced = {number: signal.signal(number, self._handle) for number in numbers}

    def stop_listening(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self.replaced.items():
            signal.signal(number, handler)
        self.replaced = {}

    def _handle(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.received_at is None:
            self.received_at, self.number = now, number
        elif now - self.received_at > SAME_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


request = StopRequest()


def listen() -> None:
    """Stop at SIGTERM, if this process is a training by fairseq's own command."""
    if TRAINER not in sys.modules or threading.current_thread() is not threading.main_thread():
        return
    apply_waiting()  # where fairseq's command was imported after the plugin
    if not request.ever_listened:
        request.ever_listened = True
        # Before multiprocessing ends the workers that are left, by SIGTERM, as this process exits.
        Finalize(None, _let_workers_go, exitpriority=1)
    request.stop_listening()
    numbers: list[int] = [signal.SIGTERM]
    # Where fairseq has spawned the ranks, torch sends them SIGINT when their parent has died.
    if multiprocessing.parent_process() is not None:
        numbers.append(signal.SIGINT)
    if callable(signal.getsignal(REQUEUE)):
        numbers.append(REQUEUE)
    request.listen(numbers)


def stopping(validate_and_save: Any) -> Any:
    """Wrap what fairseq calls after every update, on every rank."""

    @functools.wraps(validate_and_save)
    def wrapped(
        cfg: Any, trainer: Any, task: Any, epoch_itr: Any, subsets: Any, end_of_epoch: bool
    ) -> Any:
        limits = cfg.optimization
        complete = trainer.get_num_updates() >= (limits.max_update or math.inf)
        if not complete and any_rank(request.received, trainer.device):
            _save_and_exit(cfg, trainer, epoch_itr)
        losses, should_stop = validate_and_save(
            cfg, trainer, task, epoch_itr, subsets, end_of_epoch
        )
        over = end_of_epoch and epoch_itr.next_epoch_idx > (limits.max_epoch or math.inf)
        if should_stop or over:
            request.stop_listening()
            _require_saved(trainer)
        return losses, should_stop

    return wrapped


def _save_and_exit(cfg: Any, trainer: Any, epoch_itr: Any) -> None:
    updates = trainer.get_num_updates()
    name = signal.Signals(request.number).name if request.received else "a signal to another rank"
    logger.warning("%s: stopping after update %d", name, updates)
    checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
    _require_saved(trainer)  # and so no rank leaves before rank 0 has saved
    told = [key for key in ("no_save", "no_last_checkpoints") if getattr(cfg.checkpoint, key)]
    if told:
        logger.warning(
            "update %d is not saved to resume from: checkpoint.%s=true", updates, told[0]
        )
    else:
        logger.warning("update %d is saved; the same command resumes from there", updates)
    if request.number == REQUEUE:
        request.replaced[REQUEUE](REQUEUE, None)
    raise SystemExit(EXIT_CODE)


def _require_saved(trainer: Any) -> None:
    """End the run with an error, on every rank, if the last thing to save could not be."""
    reason = getattr(trainer, "unsaved", None)
    if any_rank(reason is not None, trainer.device):
        raise CheckpointError(
            f"the training ends unsaved: {reason or 'rank 0 could not save; its log says why'}. "
            "Make room and run the same command again: it resumes from the last checkpoint"
        )


# ---- workers

_leaving = RawValue("b", 0)  # shared with the workers: 1 once the training process is done


def _let_workers_go() -> None:
    _leaving.value = 1


def with_patient_workers(init: Any) -> Any:
    """Wrap ``DataLoader.__init__``: workers outlive the SIGTERM that a whole job gets.

    Without them the update in progress would fail instead of being saved.
    """

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if request.replaced and kwargs.get("worker_init_fn") is None:
            kwargs["worker_init_fn"] = functools.partial(_outlive_signals, _leaving)
        init(self, *args, **kwargs)

    return wrapped


def _outlive_signals(leaving: Any, worker: int) -> None:
    """Let only the training process end this worker, or its absence, or a long time."""

    def handle(number: int, frame: Any) -> None:
        if leaving.value:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WORKER_OUTLIVES_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
