"""Puts verified, safe reading and a planned resumption under fairseq's own.

The functions without an underscore replace fairseq's of the same name (patches.py), so every
training with ``common.user_dir`` has them, fine-tuning of fairseq's own models too.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from omegaconf import open_dict

from ..checkpoints.files import CheckpointError, interpreting, read_state
from ..checkpoints.pretraining_data import recall_training_data
from ..checkpoints.reading import SAFE_CLASSES
from ..utils.distributed import any_rank, from_first_rank, require_alike
from .best_metric import require_best_metric
from .heartbeat import moved
from .preemption import TRAINER, listen
from .resume_plan import Plan, file_to_read
from .saving import save_checkpoint
from .start_checks import look_before_start, say_batch
from .verification import verify, verify_shard
from .warm_start import initial_path, start_from

logger = logging.getLogger(__name__)

TASK_STATE = "task_state"

_load_checkpoint_to_cpu = checkpoint_utils.load_checkpoint_to_cpu
_load_checkpoint = checkpoint_utils.load_checkpoint


def load_checkpoint_to_cpu(
    path: str, arg_overrides: Any = None, load_on_all_ranks: bool = False
) -> Any:
    """Read a checkpoint that is verified first; nothing in it is executed.

    Raises:
        CheckpointError: it is broken, holds more than plain data, or is of a newer format.
    """
    if not PathManager.path_requires_pathmanager(path):
        read_state(Path(path), SAFE_CLASSES, mmap=True, progress=moved)
    with interpreting(path):
        state = _load_checkpoint_to_cpu(path, arg_overrides, load_on_all_ranks)
        # fairseq saves the task's state and forgets it; all ranks are handed the extra state.
        if TASK_STATE in state and "extra_state" in state:
            state["extra_state"] = {**state["extra_state"], TASK_STATE: state[TASK_STATE]}
        return state


def load_checkpoint(cfg: Any, trainer: Any, **passthrough_args: Any) -> Any:
    """Resume, from the newest whole checkpoint if the last one is broken.

    fairseq calls this once in each training process, which from then on listens to SIGTERM. Rank 0
    verifies what it reads and hands it to the others over the network; where fairseq lets each rank
    read for itself, each verifies for itself.

    Raises:
        CheckpointError: on every rank, if there is something to begin from but nothing usable, or
            something that was trained with settings which this command changes.
        RankError: on every rank, if they have come to different updates.
    """
    look_before_start(trainer.cfg)
    _forget_other_trainings()
    suffix, first = trainer.checkpoint_suffix or "", trainer.is_data_parallel_master
    # Shards: each rank saves and reads a file of its own.
    shards = bool(trainer.is_fsdp and trainer.cfg.distributed_training.use_sharded_state)
    plan = Plan()
    _on_all_ranks(
        trainer, lambda: plan.make(cfg, trainer, suffix, fall_back=not shards) if first else None
    )
    cfg = plan.shared().apply_to(cfg)
    if (
        shards or cfg.load_checkpoint_on_all_dp_ranks
    ):  # after rank 0's fall-back; they may share the file
        own = file_to_read(cfg, suffix)
        _on_all_ranks(trainer, lambda: verify_shard(own) if shards else verify(own))
    if first:
        recall_training_data(trainer.task, file_to_read(cfg, suffix))
    _begin_from(cfg, trainer, suffix)
    with _naming_keys():
        loaded = _load_checkpoint(cfg, trainer, **passthrough_args)
    resume = getattr(trainer.task, "resume", None)
    if resume is not None and loaded[0] is not None and not cfg.reset_optimizer:
        resume(loaded[0].get(TASK_STATE, {}))
    require_best_metric(trainer)
    if first and (batch := say_batch(trainer.cfg)):
        logger.info("%s", batch)
    updates, wanted = trainer.get_num_updates(), trainer.cfg.optimization.max_update
    require_alike("the update that they resume from", update=updates)
    if 0 < wanted <= updates:  # fairseq would train one more update before it looked
        logger.info("training is complete: %d of %d updates", updates, wanted)
        # What fairseq_cli.train.main looks at before it begins an epoch.
        with open_dict(trainer.cfg):
            trainer.cfg.optimization.stop_min_lr = math.inf
    listen()
    return loaded


def _begin_from(cfg: Any, trainer: Any, suffix: str) -> None:
    """Take the weights of ``model.init_from``, if there is no checkpoint to take them from.

    Raises:
        CheckpointError: on every rank, if they cannot be taken.
    """
    path = initial_path(trainer)
    if path is None:
        return
    resumed = file_to_read(cfg, suffix)
    if from_first_rank(int(resumed.is_file())):
        logger.info("model.init_from=%s is not read again: %s is", path, resumed)
    else:
        _on_all_ranks(trainer, lambda: start_from(path, trainer))


def _forget_other_trainings() -> None:
    """Forget what an earlier job of a sweep has left on fairseq's functions in this process."""
    early: Any = getattr(sys.modules.get(TRAINER), "should_stop_early", None)
    for function in (save_checkpoint, early):
        for name in ("best", "num_runs"):
            if hasattr(function, name):
                delattr(function, name)


@contextmanager
def _naming_keys() -> Iterator[None]:
    """Let fairseq's errors about resuming name keys as hydra takes them."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        found = re.search(r"--(reset-\w+(?:-\w+)*)", str(error))
        if found is None or isinstance(error, CheckpointError):
            raise
        key = found[1].replace("-", "_")
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the checkpoint cannot be resumed as it is: {reason}. Add checkpoint.{key}=true, or "
            "give the settings that it was trained with"
        ) from error


def _on_all_ranks(trainer: Any, act: Callable[[], object]) -> None:
    """Act, and raise on every rank if one could not; else the others would wait for it."""
    problem: Exception | None = None
    try:
        act()
    except Exception as error:  # noqa: BLE001 (the other ranks wait below, whatever it is)
        problem = error
    if any_rank(problem is not None, trainer.device):
        raise CheckpointError(
            str(problem or "another rank cannot use the checkpoint; its log says why")
        ) from problem
