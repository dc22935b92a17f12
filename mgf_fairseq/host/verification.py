"""Verifies what a training resumes from; a broken last checkpoint is replaced by a whole one."""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from ..checkpoints.files import (
    BrokenCheckpoint,
    CheckpointError,
    copy_whole,
    peek_state,
    read_state,
    require_whole,
)
from ..checkpoints.reading import LAST, SAFE_CLASSES
from .heartbeat import moved

logger = logging.getLogger(__name__)

_OTHERS = r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)"  # what else it saves, with all that resumes


def verify_or_fall_back(path: Path, last: Path, suffix: str) -> None:
    """Verify a checkpoint; a broken last one of the run's own is replaced by the newest whole one.

    Raises:
        CheckpointError: it cannot be used, nor replaced.
    """
    try:
        verify(path)
    except BrokenCheckpoint as error:
        if path != last:
            raise
        _fall_back(path, suffix, str(error))


def verify(path: Path) -> None:
    """Raise CheckpointError if there is a file that cannot be used."""
    if path.is_file():
        read_state(path, SAFE_CLASSES, mmap=True, progress=moved)


def verify_shard(path: Path) -> None:
    """As ``verify``; a broken shard has no fall-back, for those of an update belong together."""
    try:
        verify(path)
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
