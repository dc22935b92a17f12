"""Losses that are not finite: they are named, skipped on all ranks alike, and counted.

The criterion asks here; training stops when a budget is spent, not at the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..types import EncoderOutput

WITHIN = 1000  # updates that the budget is for
NAMED = 4  # utterances that a message names


class NonFiniteError(RuntimeError):
    """The budget is spent; it stops every rank, and what was last saved is what remains."""


class Budget:
    """So many updates of the last 1000 may hold something that is not finite."""

    def __init__(self, allowed: int) -> None:
        if allowed < 0:
            raise ValueError(f"criterion.nonfinite_budget={allowed} must not be negative")
        self.allowed = allowed
        self.updates: deque[int] = deque()

    def spend(self, update: int) -> None:
        """Count an update, once; every rank does so at the same updates.

        Raises:
            NonFiniteError: more than the budget were counted.
        """
        if not self.updates or self.updates[-1] != update:
            self.updates.append(update)
        while self.updates[0] <= update - WITHIN:
            self.updates.popleft()
        if len(self.updates) > self.allowed:
            raise NonFiniteError(
                f"{len(self.updates)} of the last {WITHIN} updates held a NaN or an infinity, "
                f"more than criterion.nonfinite_budget={self.allowed}; the warnings above name "
                "objectives and utterances. Remove such utterances, compute in fp32 "
                "(task.autocast=none), lower optimization.lr, or raise the budget"
            )


def rows_not_finite(values: Tensor) -> list[int]:
    """Number the rows of (B, ...) that hold a NaN or an infinity."""
    return (~torch.isfinite(values)).flatten(1).any(1).nonzero()[:, 0].tolist()


def guilty_rows(encoded: EncoderOutput, source: Tensor) -> list[int]:
    """Rows of (B, ...) whose waveform (B, S), or any level made of it, is not finite."""
    levels = [source, encoded.latents, *encoded.hidden_states, encoded.context]
    return sorted({row for level in levels for row in rows_not_finite(level.detach())})


def say_utterances(entries: Sequence[str], rows: Sequence[int]) -> str:
    """Name the utterances of these rows, or of the whole batch if there are none."""
    names = list(dict.fromkeys(entries[row] for row in rows or range(len(entries))))
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
    return f"utterance {shown}" if rows else f"no utterance by itself; the batch is {shown}"


def zero_of(model: nn.Module) -> Tensor:
    """A scalar zero with gradient zero for every parameter, whatever was computed."""
    parts = [p.float().sum() for p in model.parameters() if p.requires_grad]
    return torch.stack(parts).sum() * 0.0
