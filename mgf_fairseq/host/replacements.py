"""Replacements for small parts of fairseq that fail with current versions of torch or on a CPU.

patches.py says which part each one replaces, and why.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from fairseq.logging import metrics
from torch.nn.parallel import DistributedDataParallel


class Counts(Counter[str]):
    """Counts by name that keep no zeros."""

    def __setitem__(self, name: str, count: int) -> None:
        if count:
            super().__setitem__(name, count)
        else:
            self.pop(name, None)


def amp_step(self: Any) -> None:
    """Step the optimizer whose gradients `clip_grad_norm` has unscaled."""
    self.scaler.step(self.optimizer)
    self.scaler.update()


def loading_active_meters(
    own: Callable[[dict[str, Any]], None],
) -> Callable[[dict[str, Any]], None]:
    """Let numbers reach the meters that were loaded, which are those that are saved."""

    @functools.wraps(own)
    def load_state_dict(state_dict: dict[str, Any]) -> None:
        own(state_dict)
        active = metrics._active_aggregators
        active.update({name: metrics._aggregators[name] for name in state_dict if name in active})

    return load_state_dict


def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    """Send an object from one rank of this run to all, by torch's own means."""
    box = [obj]
    dist.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


def data_parallel(
    module: torch.nn.Module, device_ids: Any = None, output_device: Any = None, **settings: Any
) -> DistributedDataParallel:
    """Wrap a model for DDP, without the number of a GPU if the model is on the CPU."""
    if next(module.parameters()).device.type == "cpu":
        device_ids = output_device = None
    return DistributedDataParallel(module, device_ids, output_device, **settings)
