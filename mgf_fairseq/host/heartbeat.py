"""Keeps the ranks of a training together: if one fails, dies or is stuck, all end and name it.

Every rank runs a thread that sends beats through the store of the process group and reads those of
the others. The launcher runs a training under it; trainer_hooks.py reports the training's phases.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from ..utils.distributed import RankError, from_first_rank, is_distributed
from .heartbeat_store import START, Beat, BeatStore, Watch

logger = logging.getLogger(__name__)

BEAT_S = 1.0  # from one beat to the next
SILENT_S = 60.0  # a rank without a beat for so long is taken for dead
ASK_S = 6.0  # how long a rank whose connection broke waits for the reason
FAREWELL_S = 5.0  # the rank at fault leaves first, so that its parent reports it
LAST_S = 20.0  # a rank that should leave and has not left by then is ended
FAILED = 1  # exit code
_BROKEN = ("gloo", "NCCL", "Connection closed by peer")  # in errors that another rank has caused


class Heartbeat:
    """This rank's part: sends beats, reads those of others, and ends the process if all must end.

    Rank 0 watches all ranks and the others watch rank 0, so that the store answers few questions.
    """

    def __init__(self, store: BeatStore, patience_s: float) -> None:
        self.store, self.patience_s = store, patience_s
        self.everybody = range(store.world_size)
        self.watched = self.everybody if store.rank == 0 else range(1)
        self.watch = Watch(self.watched)
        self.phase, self.moves = START, 0  # only the training writes them
        self.number = 0  # of the last beat; only the thread writes it
        self.failing = False  # the main thread has an error, and ends the process itself
        self.said = False  # whether the log has the reason
        self.done = threading.Event()
        self.threads = [
            threading.Thread(target=target, name="heartbeat", daemon=True)
            for target in (self._run, self._guard)
        ]

    def enter(self, phase: str) -> str:
        """Note the phase that this rank enters; return the one it leaves."""
        before, self.phase = self.phase, phase
        self.moves += 1
        return before

    def _run(self) -> None:
        while not self.done.wait(BEAT_S):
            try:
                reason = self._look()
            except Exception as error:  # noqa: BLE001 (whatever it is, the store is out of reach)
                if self.failing:
                    return
                reason = _out_of_reach(error)
            if reason and not (self.failing or self.done.is_set()):
                self._leave(reason)

    def _guard(self) -> None:
        """Leave if the store no longer answers: a machine that is gone closes no connection."""
        before, unanswered_s = self.number, 0.0
        while not self.done.wait(BEAT_S):
            unanswered_s = unanswered_s + BEAT_S if self.number == before else 0.0
            before = self.number
            if unanswered_s > SILENT_S and not self.failing:
                self._leave(_out_of_reach(TimeoutError(f"no answer for {SILENT_S:g} s")))

    def _look(self) -> str | None:
        """Send a beat and read those of others; return the reason if all must end."""
        self.number += 1
        self.store.write(Beat(self.number, self.moves, self.phase))
        if self.failing:
            return None
        if reason := self.store.reason():
            return reason
        self.watch.see(self.store.read(self.watched))
        if dead := self.watch.silent(SILENT_S):
            return self.store.blame(self.watch.say_dead(dead))
        stuck_s = time.monotonic() - self.watch.moved
        if self.store.rank == 0 and 0 < self.patience_s < stuck_s:
            return self.store.blame(self.watch.say_stuck(self.patience_s))
        return None

    def _leave(self, reason: str) -> None:
        """End this process, whatever its main thread waits for."""
        _end_within(LAST_S)
        self.say(reason)
        time.sleep(FAREWELL_S)
        if not self.failing:
            end_now()

    def say(self, reason: str) -> None:
        """Log why all end, once on each rank."""
        said, self.said = self.said, True  # set first, as two threads may come here at once
        if not said:
            logger.error("ALL RANKS END: %s [said by rank %d]", reason, self.store.rank)

    def explain(self, error: BaseException) -> str:
        """Find what ended the training on this rank: its own error, or that of another rank."""
        try:
            if is_of_others(error) and (dead := self._ask()):
                return self.store.blame(self.watch.say_dead(dead))
            where = f"rank {self.store.rank} failed at {self.phase}"
            return self.store.blame(f"{where}: {in_one_line(error)}")
        except Exception as lost:  # noqa: BLE001 (as in _run)
            return _out_of_reach(lost)

    def _ask(self) -> list[int]:
        """Wait until a rank writes the reason; return the ranks that were silent meanwhile."""
        watch = Watch(self.everybody)
        watch.see(self.store.read(self.everybody))
        asked = time.monotonic()
        while time.monotonic() < asked + ASK_S:
            if self.store.reason():
                return []
            time.sleep(BEAT_S / 4)
            watch.see(self.store.read(self.everybody))
        self.watch = watch
        return [rank for rank in watch.silent(ASK_S - 2 * BEAT_S) if rank != self.store.rank]


def _end_within(seconds: float) -> None:
    """End this process, with code 1, even if Python itself is stuck or already shutting down."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def end_now() -> None:
    """End this process without waiting for anything that may be stuck."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(FAILED)


def is_of_others(error: BaseException) -> bool:
    """Whether an error only says that another rank has gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _BROKEN)


def in_one_line(error: BaseException) -> str:
    """Name an error; one that a worker process handed over is named by its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "Traceback (most recent call last)" in str(error):
        return lines[-1]
    if isinstance(error, RankError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}"


def _out_of_reach(error: Exception) -> str:
    return (
        "rank 0, or whatever started the ranks, is out of reach (killed, perhaps for want of "
        f"memory, or its machine is gone): {in_one_line(error)[:200]}"
    )


# ---- a training

_running: Heartbeat | None = None


def enter(phase: str) -> str:
    """Note the phase that this rank enters, for error messages; return the one it leaves."""
    return phase if _running is None else _running.enter(phase)


def moved() -> None:
    """Note progress within a phase; long work at the start calls it in between."""
    if _running is not None:
        _running.moves += 1


@contextmanager
def heartbeats(patience_s: float) -> Iterator[None]:
    """Run a training so that all its ranks end if one does.

    Args:
        patience_s: seconds without a move of any rank until they count as stuck; 0 or less: never.
    """
    global _running
    if not is_distributed():
        yield
        return
    store = dist.distributed_c10d._get_default_store()
    run = from_first_rank(time.time_ns())
    _running = Heartbeat(BeatStore(store, dist.get_rank(), dist.get_world_size(), run), patience_s)
    for thread in _running.threads:
        thread.start()
    try:
        yield
        _running.enter("the end")
        from_first_rank(0)  # no rank leaves, and falls silent, while another still saves
    except SystemExit as stop:
        if stop.code == FAILED:
            _fail(_running, stop)
        raise  # on all ranks alike
    except BaseException as error:
        if _fail(_running, error):
            raise
        # The log has another rank's reason, which pages of traceback would only hide.
        raise SystemExit(FAILED) from None
    finally:
        _running.done.set()
        _running = None


def _fail(heartbeat: Heartbeat, error: BaseException) -> bool:
    """Inform the other ranks, make sure that this process ends; return if it is its own error."""
    heartbeat.failing = True  # its thread keeps sending beats, for others ask who is alive
    _end_within(ASK_S + LAST_S)
    reason = heartbeat.explain(error)
    heartbeat.say(reason)
    # An error that looks like another rank's but is not (of NCCL itself) keeps its traceback.
    own = not is_of_others(error) or reason.startswith(f"rank {heartbeat.store.rank} failed")
    if not own:
        time.sleep(FAREWELL_S)
    elif heartbeat.store.rank == 0:
        time.sleep(3 * BEAT_S)  # it may hold the store, in which the others look for the reason
    return own
