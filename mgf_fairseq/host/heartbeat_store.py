"""Beats of all ranks in the store of the process group, and how long each rank has been silent.

heartbeat.py writes and reads them; nothing here ends a process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

# After a longer break in reading, this process itself was suspended, by a signal or the machine.
SUSPENDED_S = 30.0
START = "the start"


@dataclass(frozen=True)
class Beat:
    """One sign of life of a rank."""

    number: int  # how many the rank has sent
    moves: int  # how often it has moved from one phase to the next
    phase: str  # of the training, in words

    def encode(self) -> str:
        """Write it as one line."""
        return f"{self.number} {self.moves} {self.phase}"

    @classmethod
    def decode(cls, line: bytes) -> Beat:
        """Read what `encode` has written."""
        number, moves, phase = line.decode().split(" ", 2)
        return cls(int(number), int(moves), phase)


class BeatStore:
    """The beats of all ranks, and the reason why all must end, in the process group's store."""

    def __init__(self, store: Any, rank: int, world_size: int, run: int = 0) -> None:
        # A connection of its own, as the training's may be waiting for something. Keys of its own,
        # as torchrun may keep a store when it starts the ranks again after one has failed.
        own = store.clone() if hasattr(store, "clone") else store
        self.store = dist.distributed_c10d.PrefixStore(f"mgf/{run}", own)
        self.rank, self.world_size = rank, world_size

    def write(self, beat: Beat) -> None:
        """Write this rank's beat."""
        self.store.set(f"sign/{self.rank}", beat.encode())

    def read(self, ranks: Iterable[int]) -> dict[int, Beat]:
        """Read the last beats of those ranks that have sent one."""
        keys = {rank: f"sign/{rank}" for rank in ranks}
        there = {rank: key for rank, key in keys.items() if self.store.check([key])}
        return {rank: Beat.decode(self.store.get(key)) for rank, key in there.items()}

    def blame(self, reason: str) -> str:
        """Write why all must end, unless another rank has; return the reason that counts."""
        written: bytes = self.store.compare_set("reason", "", reason)
        return written.decode()

    def reason(self) -> str | None:
        """Read why all must end; None if they need not."""
        if not self.store.check(["reason"]):
            return None
        return self.store.get("reason").decode()  # type: ignore[no-any-return]


class Watch:
    """When each rank was last seen alive, and when one was last seen moving, by our own clock."""

    def __init__(self, ranks: Iterable[int]) -> None:
        self.moved = self.looked = time.monotonic()
        self.alive = dict.fromkeys(ranks, self.moved)
        self.beats: dict[int, Beat] = {}

    def see(self, beats: Mapping[int, Beat]) -> None:
        """Compare the beats in the store with those seen before."""
        now = time.monotonic()
        if now - self.looked > SUSPENDED_S:  # what the others did meanwhile could not be seen
            self.moved, self.alive = now, dict.fromkeys(self.alive, now)
        self.looked = now
        for rank, beat in beats.items():
            before = self.beats.get(rank)
            if before is None or beat.number != before.number:
                self.alive[rank] = now
            if before is None or beat.moves != before.moves:
                self.moved = now
            self.beats[rank] = beat

    def silent(self, seconds: float) -> list[int]:
        """Ranks that have sent no beat for so long."""
        now = time.monotonic()
        return [rank for rank, seen in sorted(self.alive.items()) if now - seen > seconds]

    def say_dead(self, ranks: Iterable[int]) -> str:
        """Name ranks that send no more beats, and the phase each was in."""
        return "; ".join(
            f"rank {rank} gives no sign of life, last at "
            f"{self.beats[rank].phase if rank in self.beats else START} (killed, perhaps for want "
            "of memory, or its machine is gone)"
            for rank in ranks
        )

    def say_stuck(self, seconds: float) -> str:
        """Name the phases of ranks that have not moved; the odd one out comes first."""
        phases: dict[str, list[str]] = {}
        for rank, beat in sorted(self.beats.items()):
            phases.setdefault(beat.phase, []).append(str(rank))
        where = "; ".join(
            f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)} at {phase}"
            for phase, ranks in sorted(phases.items(), key=lambda item: len(item[1]))
        )
        return f"nothing moves for {seconds:g} s (distributed_training.heartbeat_timeout): {where}"
