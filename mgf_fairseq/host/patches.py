"""The parts of fairseq that are replaced for current versions of torch, or for training on a CPU.

The plugin applies them once on import, so every process with `common.user_dir` has them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from fairseq.data import Dictionary
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.models import distributed_fairseq_model
from fairseq.optim.amp_optimizer import AMPOptimizer
from torch.nn.parallel import DistributedDataParallel

from ..checkpoints.reading import SAFE_CLASSES

IGNORED_INDEX = -100  # torch.nn.functional.nll_loss, ignore_index


def mend_host() -> None:
    """Apply the mends; a second call changes nothing.

    1. A fine-tuning checkpoint holds its `Dictionary` (task_state.target_dictionary), which
       torch >= 2.6 refuses to load, so a fine-tuning run could not be resumed. The class is
       plain data: it is put on torch's list of safe classes, and so is `Namespace`.
    2. `audio_classification` loads its dictionary without special symbols and then asks it for
       pad and eos, which do not exist: fairseq stops with AttributeError. Such a dictionary now
       answers with an index that losses ignore; dictionaries with special symbols keep their own.
    3. A run of several ranks hands what rank 0 has read of a checkpoint to the others through
       `torch.load`, which torch >= 2.6 refuses too, so it could not be resumed. Objects go from
       rank to rank by torch's own means.
    4. The back end c10d, its default, hands DDP the number of a GPU, which DDP refuses for a model
       that is on the CPU; there it is left out.
    5. Its metrics remember the name of every aggregation that there was, one or two per update,
       with a count of 0; names without a count are forgotten.
    6. Under `common.amp` it unscales the gradients of the inner optimizer and then lets the scaler
       step the outer one, which the scaler does not know, so it divides them by the loss scale a
       second time. The scaler now steps the optimizer that was unscaled.
    """
    torch.serialization.add_safe_globals(list(SAFE_CLASSES))
    for name in ("pad_index", "eos_index"):
        if not hasattr(Dictionary, name):
            setattr(Dictionary, name, IGNORED_INDEX)
    distributed_utils._broadcast_object_slow = _broadcast_object
    metrics._active_aggregators_cnt = _Counts(metrics._active_aggregators_cnt)
    distributed_fairseq_model.DistributedDataParallel = _data_parallel
    AMPOptimizer.step = _amp_step


class _Counts(Counter[str]):
    """Counts by name that keep no zeros."""

    def __setitem__(self, name: str, count: int) -> None:
        if count:
            super().__setitem__(name, count)
        else:
            self.pop(name, None)


def _amp_step(self: Any) -> None:
    """Step the optimizer whose gradients `clip_grad_norm` has unscaled; replaces fairseq's."""
    self.scaler.step(self.optimizer)
    self.scaler.update()


def _broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    """Hand an object of one rank of this very run to all; stands in for fairseq's."""
    box = [obj]
    dist.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


def _data_parallel(
    module: torch.nn.Module, device_ids: Any = None, output_device: Any = None, **settings: Any
) -> DistributedDataParallel:
    """Wrap a model for DDP; stands in for the class where fairseq uses it."""
    if next(module.parameters()).device.type == "cpu":
        device_ids = output_device = None
    return DistributedDataParallel(module, device_ids, output_device, **settings)
