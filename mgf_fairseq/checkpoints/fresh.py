"""``random:CHECKPOINT@SEED``: the shape of a checkpoint, with fresh weights of a seed.

The one place that takes such a specification apart, for the command line, upstreams and
evaluations; no torch is imported for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RANDOM = "random:"


@dataclass(frozen=True)
class FreshWeights:
    """A checkpoint whose shape is taken, and the seed of the weights."""

    path: str  # of a checkpoint, or of the folder of its run
    seed: int = 1

    @classmethod
    def parse(cls, spec: str) -> FreshWeights | None:
        """Read a specification, with or without a seed; None where it is of another kind.

        An ``@`` that belongs to the name of a file is no seed.
        """
        if not spec.startswith(RANDOM):
            return None
        path = spec.removeprefix(RANDOM)
        found = None if Path(path).exists() else re.fullmatch(r"(.+)@(\d+)", path)
        return cls(found[1], int(found[2])) if found else cls(path)

    def __str__(self) -> str:
        return f"{RANDOM}{self.path}@{self.seed}"


def shape_of(spec: str) -> Path:
    """The checkpoint that a specification takes its shape from, with or without its weights."""
    fresh = FreshWeights.parse(spec)
    return Path(fresh.path if fresh else spec)
