"""Puts whole, verified checkpoints under fairseq's own saving.

The functions without an underscore replace fairseq's of the same name (patches.py), so every
training with ``common.user_dir`` has them, fine-tuning of fairseq's own models too.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from ..checkpoints.files import (
    FORMAT_KEY,
    FORMAT_VERSION,
    CheckpointError,
    copy_whole,
    write_whole,
)
from .heartbeat import enter

logger = logging.getLogger(__name__)

SOURCES_KEY = "mgf_sources"  # in checkpoints: digests of what they were trained on

_copy = PathManager.copy
_torch_persistent_save = checkpoint_utils.torch_persistent_save
_save_checkpoint = checkpoint_utils.save_checkpoint


def torch_persistent_save(obj: Any, filename: str, async_write: bool = False) -> None:
    """Save with the version of the format, verified before it takes the place of another.

    Raises:
        CheckpointError: it could not be written; the file that was there before is unharmed.
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
        CheckpointError: it could not be written; the file that was there before is unharmed.
    """
    if any(map(PathManager.path_requires_pathmanager, (src_path, dst_path))):
        return _copy(src_path, dst_path, overwrite)
    before = enter(
        f"copying {Path(src_path).name} to {Path(dst_path).name}"
    )  # each file is a phase
    copy_whole(Path(src_path), Path(dst_path))
    enter(before)
    return dst_path


def save_checkpoint(cfg: Any, trainer: Any, epoch_itr: Any, val_loss: Any) -> Any:
    """Save; where that fails, say so, keep the old checkpoints and let the training continue.

    The next save tries again. The last one has to succeed, and ``validate_and_save`` of
    :mod:`mgf_fairseq.host.preemption` sees to that by ``trainer.unsaved``.
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


def with_sources(state_dict: Any) -> Any:
    """Wrap the trainer's method, so that a checkpoint notes the digests of its data."""

    @functools.wraps(state_dict)
    def wrapped(self: Any) -> Any:
        state = state_dict(self)
        sources = getattr(self, "sources", None)
        return state if sources is None else {**state, SOURCES_KEY: sources}

    return wrapped
