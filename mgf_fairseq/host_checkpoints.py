"""Puts whole, verified, safe checkpoints under fairseq's own saving and resuming.

:mod:`mgf_fairseq.plugin` calls ``guard_checkpoints``, so every training with ``common.user_dir``
has this, fine-tuning by fairseq's own models too. Each function here wraps fairseq's of that name.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from omegaconf import open_dict

from .checkpoint_files import (
    FORMAT_KEY,
    FORMAT_VERSION,
    BrokenCheckpoint,
    CheckpointError,
    copy_whole,
    interpreting,
    peek_state,
    read_state,
    remove_parts,
    require_whole,
    write_whole,
)
from .compat import SAFE_CLASSES
from .distributed import any_rank, require_alike
from .lockstep import at
from .stopping import listen

logger = logging.getLogger(__name__)

TASK_STATE = "task_state"
LAST = "checkpoint_last.pt"  # fairseq's default for checkpoint.restore_file
_OTHERS = r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)"  # what else it saves, with all that resumes

_copy = PathManager.copy
_torch_persistent_save = checkpoint_utils.torch_persistent_save
_save_checkpoint = checkpoint_utils.save_checkpoint
_load_checkpoint_to_cpu = checkpoint_utils.load_checkpoint_to_cpu
_load_checkpoint = checkpoint_utils.load_checkpoint


def guard_checkpoints() -> None:
    """Put the functions of this module in the place of fairseq's; again changes nothing."""
    PathManager.copy = staticmethod(copy)
    checkpoint_utils.torch_persistent_save = torch_persistent_save
    checkpoint_utils.save_checkpoint = save_checkpoint
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils.load_checkpoint = load_checkpoint


# ---- saving


def torch_persistent_save(obj: Any, filename: str, async_write: bool = False) -> None:
    """Save with the version of the format, verified before it takes the place of another.

    Raises:
        CheckpointError: it could not be written; what stood there before still does.
    """
    if isinstance(obj, dict) and "model" in obj:
        obj = {**obj, FORMAT_KEY: FORMAT_VERSION}
    if async_write or PathManager.path_requires_pathmanager(filename):
        _torch_persistent_save(obj, filename, async_write)
    else:
        # Once: fairseq tries three times into the same open file, and a save that succeeds after a
        # half one leaves a file that checks out and cannot be read. The next save tries again.
        write_whole(Path(filename), lambda part: torch.save(obj, part))


def copy(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
    """Copy a file so that the destination is never half of it.

    Raises:
        CheckpointError: it could not be written; what stood there before still does.
    """
    if any(map(PathManager.path_requires_pathmanager, (src_path, dst_path))):
        return _copy(src_path, dst_path, overwrite)
    before = at(f"copying {Path(src_path).name} to {Path(dst_path).name}")  # each file is a move
    copy_whole(Path(src_path), Path(dst_path))
    at(before)
    return dst_path


def save_checkpoint(cfg: Any, trainer: Any, epoch_itr: Any, val_loss: Any) -> Any:
    """Save; where that fails, say so, keep the old checkpoints and let the training go on.

    The next save tries again. The last one has to succeed, and ``validate_and_save`` of
    :mod:`mgf_fairseq.stopping` sees to that by ``trainer.unsaved``.
    """
    best = getattr(save_checkpoint, "best", None)  # fairseq keeps it there, on this very function
    trainer.unsaved = None
    try:
        return _save_checkpoint(cfg, trainer, epoch_itr, val_loss)
    except CheckpointError as error:
        trainer.unsaved = str(error)
        logger.error("update %d is not saved: %s", trainer.get_num_updates(), error)
        if best is not None:
            save_checkpoint.best = best  # type: ignore[attr-defined]
        return None


# ---- resuming


def load_checkpoint_to_cpu(
    path: str, arg_overrides: Any = None, load_on_all_ranks: bool = False
) -> Any:
    """Read a checkpoint that is verified first; nothing in it is executed.

    Raises:
        CheckpointError: it is broken, holds more than plain data, or is of a newer format.
    """
    if not PathManager.path_requires_pathmanager(path):
        read_state(Path(path), SAFE_CLASSES, mmap=True)
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
        CheckpointError: on every rank, if there is something to begin from but nothing usable.
        RankError: on every rank, if they have come to different updates.
    """
    suffix, first = trainer.checkpoint_suffix or "", trainer.is_data_parallel_master
    # Shards: each rank saves and reads a file of its own.
    shards = bool(trainer.is_fsdp and trainer.cfg.distributed_training.use_sharded_state)
    _on_all_ranks(trainer, lambda: _prepare(cfg, suffix, mend=not shards) if first else None)
    if shards or cfg.load_checkpoint_on_all_dp_ranks:  # after rank 0 has mended what they may share
        own = _file_to_read(cfg, suffix)
        _on_all_ranks(trainer, lambda: _verify_shard(own) if shards else _verify(own))
    loaded = _load_checkpoint(cfg, trainer, **passthrough_args)
    resume = getattr(trainer.task, "resume", None)
    if resume is not None and loaded[0] is not None and not cfg.reset_optimizer:
        resume(loaded[0].get(TASK_STATE, {}))
    updates, wanted = trainer.get_num_updates(), trainer.cfg.optimization.max_update
    require_alike("the update that they resume from", updates)
    if 0 < wanted <= updates:  # fairseq would train one more update before it looked
        logger.info("training is complete: %d of %d updates", updates, wanted)
        # What fairseq_cli.train.main looks at before it begins an epoch.
        with open_dict(trainer.cfg):
            trainer.cfg.optimization.stop_min_lr = math.inf
    listen()
    return loaded


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


def _prepare(cfg: Any, suffix: str, mend: bool) -> None:
    """Clear away what a killed process left, and mend a broken last checkpoint if asked to.

    Raises:
        CheckpointError: what the training would begin from cannot be used.
    """
    folder = Path(cfg.save_dir)
    if folder.is_dir():
        remove_parts(folder)
    if not mend:
        return
    path = _file_to_read(cfg, suffix)
    try:
        _verify(path)
    except BrokenCheckpoint as error:
        if path.name != LAST.replace(".pt", f"{suffix}.pt") or path.parent != folder:
            raise
        _fall_back(path, suffix, str(error))


def _file_to_read(cfg: Any, suffix: str) -> Path:
    """What fairseq will begin from, whether it is there or not (its ``load_checkpoint``)."""
    if cfg.restore_file != LAST:
        return Path(cfg.restore_file.replace(".pt", f"{suffix}.pt"))
    last = Path(cfg.save_dir) / LAST.replace(".pt", f"{suffix}.pt")
    others = (getattr(cfg, "continue_once", None), cfg.finetune_from_model)
    begun = last.exists() or not any(others)
    return last if begun else Path(next(other for other in others if other))


def _verify(path: Path) -> None:
    """Raise CheckpointError if there is a file that cannot be used."""
    if path.is_file():
        read_state(path, SAFE_CLASSES, mmap=True)


def _verify_shard(path: Path) -> None:
    """As ``_verify``; a broken shard has no fall-back, for those of an update belong together."""
    try:
        _verify(path)
    except BrokenCheckpoint as error:
        raise CheckpointError(
            f"{error}. A shard alone does not fall back: put those of one older update in the "
            f"place of all {LAST[:-3]}*{LAST[-3:]}"
        ) from None


def _fall_back(last: Path, suffix: str, reason: str) -> None:
    """Put the newest whole checkpoint in the place of a broken last one.

    Raises:
        CheckpointError: there is none, or no room for it.
    """
    found: list[tuple[int, Path]] = []
    for path in last.parent.iterdir():
        if re.fullmatch(rf"{_OTHERS}{re.escape(suffix)}\.pt", path.name):
            with suppress(CheckpointError):
                state = peek_state(path, SAFE_CLASSES)
                found.append((state["optimizer_history"][-1]["num_updates"], path))
    for updates, path in sorted(found, reverse=True):
        try:
            require_whole(path)
        except BrokenCheckpoint as error:
            logger.warning("%s", error)
            continue
        kept = last.with_name(f"{last.name}.broken")
        with suppress(OSError):  # not all file systems have links, and it is of little use
            kept.unlink(missing_ok=True)
            os.link(last, kept)
        copy_whole(path, last)
        logger.warning(
            "%s. FALLING BACK to %s, update %d; the broken file is kept as %s",
            reason,
            path.name,
            updates,
            kept.name,
        )
        return
    raise CheckpointError(
        f"{reason}; nor is there another whole checkpoint in {last.parent}. "
        f"To begin again, move {last.name} away"
    )
