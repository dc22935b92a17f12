"""What happens to a NaN or an infinity: it is named, left out on all ranks alike, and counted.

The criterion asks here for losses, the task for gradients. Training stops when a budget is spent,
never at the first.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .types import EncoderOutput

logger = logging.getLogger(__name__)

WITHIN = 1000  # updates that the budget is for
_NAMED = 4  # utterances that a message names


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
    """Rows whose waveform, or any level that was made of it, is not finite."""
    levels = [source, encoded.latents, *encoded.hidden_states, encoded.context]
    return sorted({row for level in levels for row in rows_not_finite(level.detach())})


def say_utterances(entries: Sequence[str], rows: Sequence[int]) -> str:
    """Name the utterances of these rows, or of the whole batch if there are none."""
    names = list(dict.fromkeys(entries[row] for row in rows or range(len(entries))))
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" * (len(names) > _NAMED))
    return f"utterance {shown}" if rows else f"no utterance by itself; the batch is {shown}"


def zero_of(model: nn.Module) -> Tensor:
    """Make a zero that hangs on every parameter, and on nothing that was computed."""
    parts = [p.float().sum() for p in model.parameters() if p.requires_grad]
    return torch.stack(parts).sum() * 0.0


# ---- gradients


class GradientGuard:
    """Skips an update whose gradient is not finite although the losses are, on all ranks alike.

    fairseq would stop there in fp32. It looks at the norm right after it has summed gradients over
    ranks, so the norm is where all ranks see the same; what scales losses (fp16, amp) has its own
    way of skipping and is left alone.
    """

    def __init__(self) -> None:
        self.num_skipped = 0  # since last taken
        self._skip_step = False
        self._batches: list[Mapping[str, Any]] = []
        self._explain: Callable[[Sequence[Mapping[str, Any]]], None] | None = None
        self._installed: Any = None

    def install(
        self, optimizer: Any, explain: Callable[[Sequence[Mapping[str, Any]]], None]
    ) -> None:
        """Look at this optimizer's norms from now on; `explain` says what is wrong, or raises."""
        self._explain = explain
        if self._installed is optimizer or getattr(optimizer, "scaler", None) is not None:
            return
        self._installed = optimizer
        norm_of = optimizer.clip_grad_norm

        @functools.wraps(norm_of)
        def guarded(max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
            return self._look(norm_of(max_norm, aggregate_norm_fn))

        optimizer.clip_grad_norm = guarded

    def note(self, batch: Mapping[str, Any]) -> None:
        """Keep a micro-batch of this update, in case it must be looked at."""
        if self._installed is not None:
            self._batches.append(batch)

    def skips_step(self) -> bool:
        """Tell once whether the optimizer's step is to be left out."""
        skip, self._skip_step = self._skip_step, False
        if skip and hasattr(self._installed, "_multiply_factor"):
            # Under common.bf16 fairseq keeps the clipping factor there, and only a step resets it.
            self._installed._multiply_factor = 1.0
        return skip

    def take_count(self) -> int:
        """Hand over how many updates were skipped since the last call."""
        count, self.num_skipped = self.num_skipped, 0
        return count

    def _look(self, norm: Tensor) -> Tensor:
        batches, self._batches = self._batches, []
        # fairseq reads the norm next, so this wait for the device is not one more. Where everything
        # was left out the norm is 0, and momentum must not move the weights.
        if bool((torch.isfinite(norm) & (norm > 0)).all()):
            return norm
        self._skip_step = True
        if bool(torch.isfinite(norm).all()):
            return norm
        self.num_skipped += 1
        if self._explain is not None:
            self._explain(batches)
        return torch.zeros_like(norm)


def unwrapped(model: nn.Module) -> nn.Module:
    """Take the model out of what distributes it."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


def explain_gradient(model: nn.Module, batch: Mapping[str, Any]) -> list[str]:
    """Run a batch again, one objective's gradient after the other, and say which is not finite.

    The parameters' gradients, which are of no use any more, are given up first: so this takes no
    more memory than a training step. All ranks must call it together: objectives may talk to each
    other across ranks.
    """
    model.zero_grad(set_to_none=True)
    inputs = dict(batch["net_input"])
    inputs["source"] = inputs["source"].detach().clone().requires_grad_()
    with torch.enable_grad():
        output = model(**inputs)
    found = []
    for left, (name, part) in enumerate(output.objectives.items(), 1 - len(output.objectives)):
        gradient = torch.autograd.grad(
            part.loss_sum, inputs["source"], retain_graph=left < 0, allow_unused=True
        )[0]
        rows = [] if gradient is None else rows_not_finite(gradient)
        if rows:
            found.append(f"objective {name}, {say_utterances(batch['entries'], rows)}")
    return found


def parameters_not_finite(model: nn.Module) -> str:
    """Name the first parameters whose gradient is not finite."""
    names = [
        name
        for name, p in model.named_parameters()
        if p.grad is not None and not bool(torch.isfinite(p.grad).all())
    ]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" * (len(names) > _NAMED))
