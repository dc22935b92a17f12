"""Keeps the ranks of a training together: one that fails, dies or stops moving ends all, by name.

Every rank runs a thread that gives signs of life through the store of the process group and looks
at the others'; :mod:`mgf_fairseq.host.launcher` runs a training under it and tells it where it is.
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
from .heartbeat_store import START, Board, Sign, Watch

logger = logging.getLogger(__name__)

BEAT_S = 1.0  # from one sign of life to the next
SILENT_S = 60.0  # a rank without a sign for so long is taken for dead
ASK_S = 6.0  # how long a rank whose connection broke waits for the reason
FAREWELL_S = 5.0  # the rank at fault leaves first, so that its parent reports it
LAST_S = 20.0  # a rank that should leave and has not by then is ended
FAILED = 1  # exit code
_BROKEN = ("gloo", "NCCL", "Connection closed by peer")  # in errors that others have caused


class Lockstep:
    """This rank's part: gives signs, watches, and ends the process when the board says so.

    Rank 0 watches all ranks and the others watch rank 0, so that the store answers few questions.
    """

    def __init__(self, board: Board, patience_s: float) -> None:
        self.board, self.patience_s = board, patience_s
        self.everybody = range(board.world_size)
        self.watched = self.everybody if board.rank == 0 else range(1)
        self.watch = Watch(self.watched)
        self.place, self.moves = START, 0  # the training's to write
        self.beat = 0  # the thread's to write
        self.failing = False  # the main thread has an error, and ends the process itself
        self.said = False  # why all end
        self.done = threading.Event()
        self.threads = [
            threading.Thread(target=target, name="lockstep", daemon=True)
            for target in (self._run, self._guard)
        ]

    def at(self, place: str) -> str:
        """Note that this rank has moved on, and say from where."""
        before, self.place = self.place, place
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
        """Leave if the store answers no more: a machine that is gone closes no connection."""
        before, unanswered_s = self.beat, 0.0
        while not self.done.wait(BEAT_S):
            unanswered_s = unanswered_s + BEAT_S if self.beat == before else 0.0
            before = self.beat
            if unanswered_s > SILENT_S and not self.failing:
                self._leave(_out_of_reach(TimeoutError(f"no answer for {SILENT_S:g} s")))

    def _look(self) -> str | None:
        """Give a sign; say why all must end, if they must."""
        self.beat += 1
        self.board.sign(Sign(self.beat, self.moves, self.place))
        if self.failing:
            return None
        if reason := self.board.reason():
            return reason
        self.watch.see(self.board.signs(self.watched))
        if dead := self.watch.silent(SILENT_S):
            return self.board.blame(self.watch.say_dead(dead))
        stuck_s = time.monotonic() - self.watch.moved
        if self.board.rank == 0 and 0 < self.patience_s < stuck_s:
            return self.board.blame(self.watch.say_stuck(self.patience_s))
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
        said, self.said = self.said, True  # first, for two threads may come here at once
        if not said:
            logger.error("ALL RANKS END: %s [said by rank %d]", reason, self.board.rank)

    def explain(self, error: BaseException) -> str:
        """Say what ended the training on this rank: its own error, or that of another rank."""
        try:
            if is_of_others(error) and (dead := self._ask()):
                return self.board.blame(self.watch.say_dead(dead))
            where = f"rank {self.board.rank} failed at {self.place}"
            return self.board.blame(f"{where}: {in_one_line(error)}")
        except Exception as lost:  # noqa: BLE001 (as in _run)
            return _out_of_reach(lost)

    def _ask(self) -> list[int]:
        """Wait for somebody to say what has happened; name ranks that were silent meanwhile."""
        watch = Watch(self.everybody)
        watch.see(self.board.signs(self.everybody))
        asked = time.monotonic()
        while time.monotonic() < asked + ASK_S:
            if self.board.reason():
                return []
            time.sleep(BEAT_S / 4)
            watch.see(self.board.signs(self.everybody))
        self.watch = watch
        return [rank for rank in watch.silent(ASK_S - 2 * BEAT_S) if rank != self.board.rank]


def _end_within(seconds: float) -> None:
    """End this process, with code 1, even if Python itself is stuck or already shutting down."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def end_now() -> None:
    """End this process without waiting for anything that may be stuck."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(FAILED)


def is_of_others(error: BaseException) -> bool:
    """Tell whether an error only says that another rank has gone."""
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

_running: Lockstep | None = None


def at(place: str) -> str:
    """Note where this rank is, for the message if something happens, and say where it was."""
    return place if _running is None else _running.at(place)


def moved() -> None:
    """Note that this rank's work progresses where it is; long start-up work calls it in between."""
    if _running is not None:
        _running.moves += 1


@contextmanager
def in_lockstep(patience_s: float) -> Iterator[None]:
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
    _running = Lockstep(Board(store, dist.get_rank(), dist.get_world_size(), run), patience_s)
    for thread in _running.threads:
        thread.start()
    try:
        yield
        _running.at("the end")
        from_first_rank(0)  # nobody leaves, and falls silent, while another still saves
    except SystemExit as stop:
        if stop.code == FAILED:
            _fail(_running, stop)
        raise  # on all ranks alike
    except BaseException as error:
        if _fail(_running, error):
            raise
        # Of another rank, whose reason has been said: pages of traceback would only hide it.
        raise SystemExit(FAILED) from None
    finally:
        _running.done.set()
        _running = None


def _fail(lockstep: Lockstep, error: BaseException) -> bool:
    """Tell the others, and see to it that this process ends; say whether it is its own fault."""
    lockstep.failing = True  # its thread goes on giving signs, for others ask who is alive
    _end_within(ASK_S + LAST_S)
    reason = lockstep.explain(error)
    lockstep.say(reason)
    # What looks like another's fault and is nobody else's (NCCL's own trouble) keeps its traceback.
    own = not is_of_others(error) or reason.startswith(f"rank {lockstep.board.rank} failed")
    if not own:
        time.sleep(FAREWELL_S)
    elif lockstep.board.rank == 0:
        time.sleep(3 * BEAT_S)  # it may hold the store, in which the others look for the reason
    return own
