"""The faults of the soak: how each is brought about, and what has to happen then.

soak.py draws from FAULTS, injects, and holds what it sees against the fault's `Expected`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from disk import Disk
from job import SAVE_EVERY, Life
from sounds import Corpus

from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.host.preemption import EXIT_CODE

_SAVE_BEGINS_WITHIN_S, _SAVE_ENDS_WITHIN_S = 240, 30
_KILLED, _TOLD_TO_STOP = -signal.SIGKILL, EXIT_CODE


@dataclass
class Scene:
    """What faults work on."""

    life: Life
    corpus: Corpus
    disk: Disk
    save_dir: Path
    rng: random.Random

    def rank(self) -> int:
        return self.rng.randrange(len(self.life.ranks))

    def newest(self) -> Path:
        return self.save_dir / "checkpoint_last.pt"

    def wait_for_save(self) -> None:
        """Wait until a save that is under way has ended."""
        began = time.monotonic()
        while time.monotonic() < began + _SAVE_ENDS_WITHIN_S:
            quiet = not any(self.save_dir.glob("*.part*"))
            time.sleep(1.0)  # between two files of it, and before old ones are removed
            if quiet and not any(self.save_dir.glob("*.part*")):
                return


@dataclass
class Expected:
    """What a fault that has been injected must lead to."""

    detail: str
    says: str = ""  # pattern that the training must log
    code: int | None = None  # of the rank that was hit; None: any but 0
    rank: int = 0  # which rank was hit
    may_lose: int = SAVE_EVERY  # updates, logged and done again
    hold_s: float = 0.0  # for so long before it is healed
    heal: Callable[[], None] = lambda: None
    recovers: str = ""  # pattern that must be logged after healing, in the next life if it ended
    spoils_data: bool = False  # so that updates may differ from those of another life


@dataclass(frozen=True)
class Fault:
    """One kind, and whether the training has to end by it (and resume), or to continue through it.

    None: it may do either, as long as it says why.
    """

    name: str
    ends: bool | None
    inject: Callable[[Scene], Expected]
    needs_disk: bool = False


def _kill_worker(scene: Scene) -> Expected:
    rank = scene.rank()
    worker = scene.rng.choice(scene.life.workers(rank))
    os.kill(worker, signal.SIGKILL)
    says = r"DataLoader worker .*(killed|exited)"
    return Expected(f"kill -9 of a worker of rank {rank}", says, rank=rank)


def _kill_trainer(scene: Scene) -> Expected:
    rank = scene.rank()
    os.kill(scene.life.ranks[rank].pid, signal.SIGKILL)
    return Expected(f"kill -9 of rank {rank}", code=_KILLED, rank=rank)


def _kill_while_saving(scene: Scene) -> Expected:
    """Wait for the file that a save begins with, and kill some milliseconds later."""
    deadline = time.monotonic() + _SAVE_BEGINS_WITHIN_S
    while not any(".part" in name for name in os.listdir(scene.save_dir)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no checkpoint begun within {_SAVE_BEGINS_WITHIN_S} s")
        time.sleep(0.001)
    time.sleep(scene.rng.uniform(0, 0.02))
    os.kill(scene.life.ranks[0].pid, signal.SIGKILL)
    left = [name for name in os.listdir(scene.save_dir) if ".part" in name]
    return Expected(
        f"kill -9 of rank 0 in a save; left: {', '.join(left) or 'nothing half'}", code=_KILLED
    )


def _terminate(scene: Scene) -> Expected:
    says = r"update \d+ is saved; the same command"
    if scene.rng.random() < 0.5:
        scene.life.signal_all(signal.SIGTERM)
        return Expected("to every process, as SLURM does", says, _TOLD_TO_STOP, may_lose=0)
    rank = scene.rank()
    os.kill(scene.life.ranks[rank].pid, signal.SIGTERM)
    return Expected(f"to rank {rank}", says, _TOLD_TO_STOP, rank, may_lose=0)


def _damage_audio(scene: Scene) -> Expected:
    for _ in range(scene.rng.randint(1, 4)):
        scene.corpus.damage(scene.rng)
    what = ", ".join(f"{name} {how}" for name, how in scene.corpus.damaged.items())
    return Expected(
        what, "skipped in training", hold_s=10, heal=scene.corpus.restore, spoils_data=True
    )


def _hide_audio(scene: Scene) -> Expected:
    """As when a network file system is away: no file can be opened.

    Within an epoch batches are skipped; an epoch that begins without a readable one is refused.
    """
    audio = scene.corpus.folder / "audio"
    hidden = audio.with_name("away")
    audio.rename(hidden)
    seconds = scene.rng.uniform(2, 8)
    return Expected(
        f"no audio file there for {seconds:.0f} s",
        "skipped in training",
        hold_s=seconds,
        heal=lambda: (hidden.rename(audio), None)[1],
        spoils_data=True,
    )


def _cut_checkpoint(scene: Scene) -> Expected:
    """Kill, so that it has to be read, and cut the newest; sometimes its twin, too."""
    os.kill(scene.life.ranks[0].pid, signal.SIGKILL)
    scene.life.ranks[0].wait()
    saved = {path: _update_of(path) for path in scene.save_dir.glob("checkpoint_*.pt")}
    twins = sorted(scene.save_dir.glob("checkpoint_*_*.pt"), key=lambda path: path.stat().st_mtime)
    both = len(twins) > 1 and scene.rng.random() < 0.5
    cut = [scene.newest(), *twins[-1:]] if both else [scene.newest()]
    for path in cut:
        os.truncate(path, int(path.stat().st_size * scene.rng.uniform(0, 0.95)))
    # Not one save back for each: what fairseq saves at the end of an epoch has no twin.
    whole = max(update for path, update in saved.items() if path not in cut)
    return Expected(
        f"{scene.newest().name}{f' and {twins[-1].name}' if both else ''} cut short after kill -9",
        code=_KILLED,
        may_lose=max(saved.values()) - whole + SAVE_EVERY,
        recovers="FALLING BACK to",
    )


def _update_of(checkpoint: Path) -> int:
    return int(read_checkpoint(checkpoint)["optimizer_history"][-1]["num_updates"])


def _fill(scene: Scene) -> None:
    scene.disk.fill(int(scene.newest().stat().st_size * scene.rng.uniform(0, 0.9)))


def _fill_disk(scene: Scene) -> Expected:
    _fill(scene)
    return Expected(
        "while it trains, until a save has failed",
        "is not saved: .*No space left|is not saved: .*could not be written",
        heal=scene.disk.free,
        recovers="Saved checkpoint",
    )


def _terminate_on_full_disk(scene: Scene) -> Expected:
    """Where the disk is filled just before a save, that one fails as well."""
    _fill(scene)
    # A save that had its room already ends, and takes an old checkpoint away: room to be filled.
    scene.wait_for_save()
    _fill(scene)
    scene.life.signal_all(signal.SIGTERM)
    return Expected(
        "SIGTERM while nothing can be saved",
        "ends unsaved",
        1,
        may_lose=2 * SAVE_EVERY,
        heal=scene.disk.free,
    )


def _stall_reads(scene: Scene) -> Expected:
    rank, seconds = scene.rank(), scene.rng.uniform(5, 25)
    workers = scene.life.workers(rank)

    def go_on() -> None:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)

    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    return Expected(
        f"the workers of rank {rank} read nothing for {seconds:.0f} s", hold_s=seconds, heal=go_on
    )


FAULTS = (
    Fault("loader worker killed (kill -9)", True, _kill_worker),
    Fault("trainer killed (kill -9)", True, _kill_trainer),
    Fault("trainer killed in a save (kill -9)", True, _kill_while_saving),
    Fault("SIGTERM", True, _terminate),
    Fault("newest checkpoint cut short", True, _cut_checkpoint),
    Fault("SIGTERM on a full disk", True, _terminate_on_full_disk, needs_disk=True),
    Fault("disk full while saving", False, _fill_disk, needs_disk=True),
    Fault("audio files damaged", False, _damage_audio),
    Fault("all audio away for seconds", None, _hide_audio),
    Fault("slow disk (loader workers stopped)", False, _stall_reads),
)
