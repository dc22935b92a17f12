"""Skip an update whose gradients are not finite, on all ranks alike, and name the parameters.

The task applies it after each backward pass; nonfinite.py has the same for losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..utils.transfer import from_bits, to_host
from .nonfinite import NAMED, rows_not_finite, say_utterances


class Measured(Protocol):
    """What is measured in a backward pass, on the device, and used on the host."""

    def pending(self) -> Tensor:
        """Give it, (n,)."""

    def take(self, numbers: Sequence[float]) -> None:
        """Receive it on the host."""


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
        self._measured: Measured | None = None

    def install(
        self,
        optimizer: Any,
        explain: Callable[[Sequence[Mapping[str, Any]]], None],
        measured: Measured | None = None,
    ) -> None:
        """Look at this optimizer's norms from now on; `explain` says what is wrong, or raises.

        What the update has `measured` comes to the host with the norm.
        """
        self._explain, self._measured = explain, measured
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
        """Whether to skip the optimizer's step; True once."""
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
        parts = [norm] if self._measured is None else [norm, self._measured.pending()]
        (value,), *rest = to_host(*parts)
        for numbers in rest:
            assert self._measured is not None
            self._measured.take(numbers)
        # On the host, since fairseq reads it several times: the one wait for the backward pass.
        norm = torch.tensor(value, dtype=norm.dtype)
        # Where everything was skipped the norm is 0, and momentum must not move the weights.
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
    inputs["source"] = from_bits(inputs["source"]).detach().clone().requires_grad_()
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
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" * (len(names) > NAMED))
