"""Puts whole, verified, safe checkpoints under fairseq's own saving and resuming.

:mod:`mgf_fairseq.plugin` calls ``guard_checkpoints``, so every training with ``common.user_dir``
has this, fine-tuning by fairseq's own models too. Each function here wraps fairseq's of that name.
"""

from __future__ import annotations

import copy as copying
import functools
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager
from omegaconf import OmegaConf, open_dict

from ..checkpoints.files import (
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
from ..checkpoints.reading import SAFE_CLASSES
from ..data.pretraining_data import recall_training_data
from ..utils.distributed import any_rank, from_first_rank, require_alike
from .best_metric import require_best_metric
from .heartbeat import at, moved
from .preemption import TRAINER, listen
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
from .start_checks import look_before_start, say_batch

logger = logging.getLogger(__name__)

TASK_STATE = "task_state"
LAST = "checkpoint_last.pt"  # fairseq's default for checkpoint.restore_file
SOURCES_KEY = "mgf_sources"  # in checkpoints: digests of what they were trained on
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


# ---- resuming


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
        trainer, lambda: plan.make(cfg, trainer, suffix, mend=not shards) if first else None
    )
    cfg = plan.shared().apply_to(cfg)
    if shards or cfg.load_checkpoint_on_all_dp_ranks:  # after rank 0 has mended what they may share
        own = _file_to_read(cfg, suffix)
        _on_all_ranks(trainer, lambda: _verify_shard(own) if shards else _verify(own))
    if first:
        recall_training_data(trainer.task, _file_to_read(cfg, suffix))
    with _naming_keys():
        loaded = _load_checkpoint(cfg, trainer, **passthrough_args)
    resume = getattr(trainer.task, "resume", None)
    if resume is not None and loaded[0] is not None and not cfg.reset_optimizer:
        resume(loaded[0].get(TASK_STATE, {}))
    require_best_metric(trainer)
    if first and (batch := say_batch(trainer.cfg)):
        logger.info("%s", batch)
    updates, wanted = trainer.get_num_updates(), trainer.cfg.optimization.max_update
    require_alike("the update that they resume from", updates)
    if 0 < wanted <= updates:  # fairseq would train one more update before it looked
        logger.info("training is complete: %d of %d updates", updates, wanted)
        # What fairseq_cli.train.main looks at before it begins an epoch.
        with open_dict(trainer.cfg):
            trainer.cfg.optimization.stop_min_lr = math.inf
    listen()
    return loaded


def _forget_other_trainings() -> None:
    """Forget what an earlier job of a sweep has left on fairseq's functions in this process."""
    early: Any = getattr(sys.modules.get(TRAINER), "should_stop_early", None)
    for function in (save_checkpoint, early):
        for name in ("best", "num_runs"):
            if hasattr(function, name):
                delattr(function, name)


@dataclass
class Plan:
    """What is read and what begins anew; rank 0 makes it."""

    own: bool = False  # its own last checkpoint, whatever checkpoint.restore_file says
    resets: dict[str, bool] | None = None  # None: as the command says

    def make(self, cfg: Any, trainer: Any, suffix: str, mend: bool) -> None:
        """Clear away what a killed process left, choose the file, and compare it with the command.

        Raises:
            CheckpointError: what the training would begin from cannot be used.
        """
        folder = Path(cfg.save_dir)
        if folder.is_dir():
            remove_parts(folder)
        asked = _plain(trainer.cfg)
        sources = source_digests(asked)
        trainer.state_dict = functools.partial(_with_sources, trainer.state_dict, sources)
        last = folder / LAST.replace(".pt", f"{suffix}.pt")
        named = _file_to_read(cfg, suffix)
        for path in {named, last}:
            if mend:
                _mend(path, last, suffix)
            else:
                _verify_shard(path)
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


def _plain(config: Any) -> dict[str, Any]:
    """Plain containers of a configuration, or {} where there is none."""
    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return config if isinstance(config, dict) else {}


def _with_sources(state_dict: Callable[[], dict[str, Any]], sources: Any) -> dict[str, Any]:
    """Note in a checkpoint what its data were; stands in for the trainer's method."""
    return {**state_dict(), SOURCES_KEY: sources}


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


def _mend(path: Path, last: Path, suffix: str) -> None:
    """Verify a checkpoint; a broken last one of the run's own is replaced by the newest whole one.

    Raises:
        CheckpointError: it cannot be used, nor replaced.
    """
    try:
        _verify(path)
    except BrokenCheckpoint as error:
        if path != last:
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
        read_state(path, SAFE_CLASSES, mmap=True, progress=moved)


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
