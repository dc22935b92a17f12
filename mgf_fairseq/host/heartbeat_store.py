"""Signs of life of all ranks in the store of the process group, and how long each has been silent.

heartbeat.py writes and reads them; nothing here ends a process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

SUSPENDED_S = (
    30.0  # without a look of our own: it was us who stood still, by a signal or the machine
)
START = "the start"


@dataclass(frozen=True)
class Sign:
    """A rank's sign of life."""

    beat: int  # how many it has given
    moves: int  # how often it has moved from one place to the next
    place: str  # where in the training it is

    def encode(self) -> str:
        """Make one line of it."""
        return f"{self.beat} {self.moves} {self.place}"

    @classmethod
    def decode(cls, line: bytes) -> Sign:
        """Read what `encode` has made."""
        beat, moves, place = line.decode().split(" ", 2)
        return cls(int(beat), int(moves), place)


class Board:
    """What ranks write for each other into the store of their process group."""

    def __init__(self, store: Any, rank: int, world_size: int, run: int = 0) -> None:
        # A connection of its own: the training's may be waiting for something. And names of its
        # own: torchrun may keep a store when it starts the ranks again after one has failed.
        own = store.clone() if hasattr(store, "clone") else store
        self.store = dist.distributed_c10d.PrefixStore(f"mgf/{run}", own)
        self.rank, self.world_size = rank, world_size

    def sign(self, sign: Sign) -> None:
        """Write this rank's sign of life."""
        self.store.set(f"sign/{self.rank}", sign.encode())

    def signs(self, ranks: Iterable[int]) -> dict[int, Sign]:
        """Read the last signs of those ranks that have given one."""
        keys = {rank: f"sign/{rank}" for rank in ranks}
        there = {rank: key for rank, key in keys.items() if self.store.check([key])}
        return {rank: Sign.decode(self.store.get(key)) for rank, key in there.items()}

    def blame(self, reason: str) -> str:
        """Write why all must end, unless somebody has; return what stands there."""
        written: bytes = self.store.compare_set("reason", "", reason)
        return written.decode()

    def reason(self) -> str | None:
        """Read why all must end, if they must."""
        if not self.store.check(["reason"]):
            return None
        return self.store.get("reason").decode()  # type: ignore[no-any-return]


class Watch:
    """When each rank was last seen alive, and when one was last seen moving, by our own clock."""

    def __init__(self, ranks: Iterable[int]) -> None:
        self.moved = self.looked = time.monotonic()
        self.alive = dict.fromkeys(ranks, self.moved)
        self.signs: dict[int, Sign] = {}

    def see(self, signs: Mapping[int, Sign]) -> None:
        """Take what the board says now."""
        now = time.monotonic()
        if now - self.looked > SUSPENDED_S:  # what others did meanwhile was not to be seen
            self.moved, self.alive = now, dict.fromkeys(self.alive, now)
        self.looked = now
        for rank, sign in signs.items():
            before = self.signs.get(rank)
            if before is None or sign.beat != before.beat:
                self.alive[rank] = now
            if before is None or sign.moves != before.moves:
                self.moved = now
            self.signs[rank] = sign

    def silent(self, seconds: float) -> list[int]:
        """Ranks that have given no sign for so long."""
        now = time.monotonic()
        return [rank for rank, seen in sorted(self.alive.items()) if now - seen > seconds]

    def say_dead(self, ranks: Iterable[int]) -> str:
        """Name ranks that give no sign any more, and where they were."""
        return "; ".join(
            f"rank {rank} gives no sign of life, last at "
            f"{self.signs[rank].place if rank in self.signs else START} (killed, perhaps for want "
            "of memory, or its machine is gone)"
            for rank in ranks
        )

    def say_stuck(self, seconds: float) -> str:
        """Say where ranks are that have not moved; the odd one out is to blame."""
        places: dict[str, list[str]] = {}
        for rank, sign in sorted(self.signs.items()):
            places.setdefault(sign.place, []).append(str(rank))
        where = "; ".join(
            f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)} at {place}"
            for place, ranks in sorted(places.items(), key=lambda item: len(item[1]))
        )
        return f"nothing moves for {seconds:g} s (distributed_training.heartbeat_timeout): {where}"
