"""Sums and gathers over ranks, the identity with one process; and what must be alike on all.

The criterion normalizes by counts of all ranks, and the utterance objective takes its negatives
from all ranks.
"""

from __future__ import annotations

import platform
import zlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class RankError(RuntimeError):
    """A rank cannot continue, and so none can."""


def is_distributed() -> bool:
    """Whether there is more than one rank."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first_rank() -> bool:
    """Whether this is the rank that logs and saves for all."""
    return not is_distributed() or dist.get_rank() == 0


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum a tensor of any shape over ranks, without gradient."""
    values = values.detach().clone()
    if is_distributed():
        dist.all_reduce(values)
    return values


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any rank; all wait for each other here."""
    if not is_distributed():
        return flag
    return bool(all_reduce_sum(torch.tensor(float(flag), device=device)) > 0)


def _device() -> torch.device:
    """The device of tensors that ranks exchange."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def from_first_rank(number: int) -> int:
    """Give the first rank's whole number to all."""
    if not is_distributed():
        return number
    box = torch.tensor(number, device=_device())
    dist.broadcast(box, src=0)
    return int(box)


def ranks_on_this_machine() -> int:
    """Count the ranks whose machine has this one's name, this rank among them."""
    if not is_distributed():
        return 1
    own = torch.tensor(zlib.crc32(platform.node().encode()), device=_device())
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    return int((torch.stack(found) == own).sum())


def require_alike(what: str, /, **numbers: int) -> None:
    """Compare whole numbers that must be the same on every rank.

    Raises:
        RankError: on every rank, if they are not; it shows the first number that differs, by name.
    """
    if not is_distributed():
        return
    own = torch.tensor(list(numbers.values()), device=_device())
    found = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(found, own)
    columns = torch.stack(found, dim=1).tolist()  # a number's values on all ranks
    for name, values in zip(numbers, columns, strict=True):
        if len(set(values)) > 1:
            shown = ", ".join(f"{value} on rank {rank}" for rank, value in enumerate(values))
            raise RankError(f"ranks differ in {what}: {name} {shown}")


def fingerprint(model: torch.nn.Module) -> tuple[int, int]:
    """Count the parameters, and checksum their names and shapes."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return sum(p.numel() for p in model.parameters()), zlib.crc32(repr(shapes).encode())


@dataclass(frozen=True)
class GatheredRows:
    """The rows of all ranks and where this rank's begin."""

    rows: Tensor  # (B of all ranks, E)
    keys: Tensor  # (B of all ranks,) int64
    offset: int  # index of this rank's first row


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate equally shaped tensors of all ranks; gradients are summed back to their owner."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()  # the incoming tensor is not ours to change
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(rows: Tensor, keys: Tensor) -> GatheredRows:
    """Gather (B, E) rows and (B,) keys of all ranks, whose B may differ, with gradient."""
    if not is_distributed():
        return GatheredRows(rows, keys, 0)
    sizes = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    sizes[dist.get_rank()] = len(rows)
    counts = [int(n) for n in all_reduce_sum(sizes).tolist()]
    longest = max(counts)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), rows.shape[1])])
    padded_keys = torch.cat([keys, keys.new_full((longest - len(keys),), -1)])
    all_keys = [torch.empty_like(padded_keys) for _ in counts]
    dist.all_gather(all_keys, padded_keys)
    all_rows: Tensor = _GatherWithGradient.apply(padded)  # type: ignore[no-untyped-call]
    kept = torch.cat(
        [torch.arange(n, device=rows.device) + rank * longest for rank, n in enumerate(counts)]
    )
    return GatheredRows(all_rows[kept], torch.cat(all_keys)[kept], sum(counts[: dist.get_rank()]))
