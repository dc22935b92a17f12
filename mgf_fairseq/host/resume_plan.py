"""Chooses the file that a training resumes from, and what begins anew; rank 0 does it for all."""

from __future__ import annotations

import copy as copying
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..checkpoints.files import CheckpointError, peek_state, remove_parts
from ..checkpoints.reading import LAST, SAFE_CLASSES
from ..utils.distributed import from_first_rank
from .resuming import (
    RESETS,
    Difference,
    differences,
    misfits,
    require_continuable,
    resets_to_do,
    source_differences,
    source_digests,
)
from .saving import SOURCES_KEY
from .verification import verify_or_fall_back, verify_shard

logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """What is read and what begins anew; rank 0 makes it."""

    own: bool = False  # its own last checkpoint, whatever checkpoint.restore_file says
    resets: dict[str, bool] | None = None  # None: as the command says

    def make(self, cfg: Any, trainer: Any, suffix: str, fall_back: bool) -> None:
        """Clear away what a killed process left, choose the file, and compare it with the command.

        Raises:
            CheckpointError: what the training would begin from cannot be used.
        """
        folder = Path(cfg.save_dir)
        if folder.is_dir():
            remove_parts(folder)
        asked = _plain(trainer.cfg)
        sources = source_digests(asked)
        trainer.sources = sources  # for `with_sources`
        last = folder / LAST.replace(".pt", f"{suffix}.pt")
        named = file_to_read(cfg, suffix)
        for path in {named, last}:
            if fall_back:
                verify_or_fall_back(path, last, suffix)
            else:
                verify_shard(path)
        self.own = last.is_file() and (_same(named, last) or _is_continued(last, named, cfg))
        path = last if self.own else named
        if path.is_file():
            self._compare(path, cfg, trainer, asked, sources)

    def _compare(
        self, path: Path, cfg: Any, trainer: Any, asked: dict[str, Any], sources: dict[str, str]
    ) -> None:
        """Compare a checkpoint with the command, and decide what begins anew.

        Raises:
            CheckpointError: it cannot be continued, or the command does not permit it.
        """
        state = peek_state(path, SAFE_CLASSES)
        saved = _plain(state.get("cfg"))
        found: list[Difference] = []
        if self.own or not _same(path, Path(cfg.finetune_from_model or "")):  # only its weights
            found = differences(saved, asked)
            found += source_differences(state.get(SOURCES_KEY) or {}, sources)
        wanted = asked.get("checkpoint") or {}
        weights: list[str] = []
        if not trainer.is_fsdp:  # whose state is gathered by all ranks together
            other_model = any(item.key.startswith("model.") for item in found)
            weights = misfits(state["model"], trainer.get_model().state_dict(), other_model)
        require_continuable(path, found, weights, wanted)
        done = (saved.get("checkpoint") or {}) if self.own else {}
        self.resets = resets_to_do(wanted, done, found)
        for item in found:
            logger.warning("continuing with another setting: %s", item)

    def shared(self) -> Plan:
        """Rank 0's plan, on every rank."""
        resets = [False] * len(RESETS) if self.resets is None else list(self.resets.values())
        flags = [self.own, self.resets is not None, *resets]
        bits = from_first_rank(sum(flag << number for number, flag in enumerate(flags)))
        own, decided, *resets = (bool(bits >> number & 1) for number in range(len(flags)))
        return Plan(own, dict(zip(RESETS, resets, strict=True)) if decided else None)

    def apply_to(self, cfg: Any) -> Any:
        """The group `checkpoint` as fairseq is to see it now; what is saved is the command's."""
        cfg = copying.copy(cfg)
        if self.own:
            cfg.restore_file, cfg.finetune_from_model = LAST, None
        for key, value in (self.resets or {}).items():
            setattr(cfg, key, value)
        return cfg


def file_to_read(cfg: Any, suffix: str) -> Path:
    """What fairseq will begin from, whether it is there or not (its ``load_checkpoint``)."""
    if cfg.restore_file != LAST:
        return Path(cfg.restore_file.replace(".pt", f"{suffix}.pt"))
    last = Path(cfg.save_dir) / LAST.replace(".pt", f"{suffix}.pt")
    others = (getattr(cfg, "continue_once", None), cfg.finetune_from_model)
    begun = last.exists() or not any(others)
    return last if begun else Path(next(other for other in others if other))


def _plain(config: Any) -> dict[str, Any]:
    """Plain containers of a configuration, or {} where there is none."""
    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return config if isinstance(config, dict) else {}


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _is_continued(last: Path, named: Path, cfg: Any) -> bool:
    """Whether the own last checkpoint is of a run that had begun from the named file.

    Raises:
        CheckpointError: it is of another run, which would be written over.
    """
    saved = _plain(peek_state(last, SAFE_CLASSES).get("cfg")).get("checkpoint") or {}
    began = Path(str(saved.get("restore_file", LAST)))
    if _same(began, named):
        return True
    if named.parent.resolve() == last.parent.resolve():  # back to an earlier checkpoint of its own
        return False
    raise CheckpointError(
        f"checkpoint.restore_file={named}, but {last} is of a run that had not begun there, and "
        "would be written over. Give another checkpoint.save_dir; or leave restore_file out to "
        f"resume that run; or move {last.name} away"
    )
