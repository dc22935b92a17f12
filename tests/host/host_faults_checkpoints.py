"""What the unpatched host does wrong with checkpoints; registered as in host_faults.py."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from host_faults import fault_of

from mgf_fairseq.host import checkpointing


@contextmanager
def little_room(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@fault_of("fairseq.file_io:PathManager.copy")
def _a_copy_that_fails_leaves_half_a_file(folder, monkeypatch) -> bool:
    source, copy = folder / "checkpoint_1_2.pt", folder / "checkpoint_last.pt"
    torch.save({"model": {"weight": torch.zeros(100_000)}}, source)
    copy.write_bytes(b"the older one")
    with little_room(50_000), suppress(OSError, checkpointing.CheckpointError):
        PathManager.copy(str(source), str(copy), overwrite=True)
    return copy.read_bytes() != b"the older one"


@fault_of("fairseq.checkpoint_utils:torch_persistent_save")
def _a_save_that_succeeds_after_half_a_one_cannot_be_read(folder, monkeypatch) -> bool:
    path, tries = folder / "checkpoint.pt", []
    save = torch.save

    def fails_once(state: Any, file: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            file.write(b"half a checkpoint") if hasattr(file, "write") else None
            raise OSError("no room")
        save(state, file)

    monkeypatch.setattr(torch, "save", fails_once)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    try:
        checkpoint_utils.torch_persistent_save({"model": {"w": torch.ones(3)}}, str(path))
    except (OSError, checkpointing.CheckpointError):
        return path.exists()
    with suppress(Exception):  # whatever torch makes of it
        torch.load(path)
        return False
    return True


@fault_of("fairseq.checkpoint_utils:save_checkpoint")
def _a_save_that_fails_ends_the_training(folder, monkeypatch) -> bool:
    trainer = MagicMock(data_parallel_rank=0, checkpoint_suffix="", unsaved=None)
    trainer.get_num_updates.return_value = 5
    trainer.save_checkpoint.side_effect = checkpointing.CheckpointError("no room")
    trainer.task = SimpleNamespace()
    epoch = MagicMock(epoch=1)
    try:
        cfg = CheckpointConfig(save_dir=str(folder))
        checkpoint_utils.save_checkpoint(cfg, trainer, epoch, None)
    except checkpointing.CheckpointError:
        return True
    assert trainer.unsaved == "no room"
    return False


def checkpoint(path: Path, updates: int) -> Path:
    history = [{"num_updates": updates, "lr_scheduler_state": {}}]
    state = {
        "args": None,
        "cfg": {},
        "model": {"weight": torch.full((1000,), float(updates))},
        "optimizer_history": history,
        "extra_state": {"epoch": 1},
        "task_state": {"balance": 1},
    }
    torch.save(state, path)
    return path


def break_tensor(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((1000,), 5.0).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


@fault_of("fairseq.checkpoint_utils:load_checkpoint_to_cpu")
def _a_changed_checkpoint_is_read_and_the_state_of_the_task_is_not(folder, monkeypatch) -> bool:
    path = checkpoint(folder / "checkpoint.pt", 5)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    has_task = "task_state" in state["extra_state"]
    break_tensor(path)
    try:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    except checkpointing.CheckpointError:
        return not has_task
    assert not has_task
    return True


@fault_of("fairseq.checkpoint_utils:load_checkpoint")
def _a_broken_last_checkpoint_ends_the_run_though_an_older_one_is_whole(
    folder, monkeypatch
) -> bool:
    for name in ("look_before_start", "require_best_metric", "say_batch", "listen"):
        monkeypatch.setattr(checkpointing, name, lambda *_: None)
    checkpoint(folder / "checkpoint_1_4.pt", 4)
    break_tensor(checkpoint(folder / "checkpoint_last.pt", 5))
    trainer = MagicMock(checkpoint_suffix="", is_data_parallel_master=True, is_fsdp=False)
    trainer.device, trainer.task = torch.device("cpu"), SimpleNamespace()
    trainer.cfg = SimpleNamespace(optimization=SimpleNamespace(max_update=0), model=None)
    trainer.get_num_updates.return_value = 5
    trainer.get_model.return_value = torch.nn.Identity()
    read = []

    def load(path: str, *_: Any, **__: Any) -> None:
        read.append(checkpoint_utils.load_checkpoint_to_cpu(path)["optimizer_history"])

    trainer.load_checkpoint = load
    try:
        checkpoint_utils.load_checkpoint(CheckpointConfig(save_dir=str(folder)), trainer)
    except checkpointing.CheckpointError:
        return True
    return read[0][-1]["num_updates"] != 4
