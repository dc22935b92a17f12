"""What a training begins from is verified before any rank reads it, and all ranks hear the verdict.

Trainers are simple objects here; tests/training/test_resume.py has real ones.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.host import checkpointing, preemption


def save(path: Path, updates: int, whole: bool = True) -> Path:
    state = {"model": {"weight": torch.full((1000,), float(updates))}}
    state |= {"optimizer_history": [{"num_updates": updates}]}
    checkpoint_utils.torch_persistent_save(state, str(path))
    if not whole:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


@pytest.fixture
def resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`resume(first=..., suffix=..., shards=..., **checkpoint keys)`: as one rank of a run."""
    loaded: list[str] = []

    def load(cfg: Any, trainer: Any, **_: Any) -> tuple[None, None]:
        loaded.append("read")
        return None, None  # as fairseq where there is no extra state

    monkeypatch.setattr(checkpointing, "_load_checkpoint", load)
    # What else is looked at before a start: tests/host/test_start_checks.py.
    monkeypatch.setattr(checkpointing, "look_before_start", lambda cfg: None)
    monkeypatch.setattr(checkpointing, "require_best_metric", lambda trainer: None)
    monkeypatch.setattr(checkpointing, "say_batch", lambda cfg: "")

    def run(first: bool = True, suffix: str = "", shards: bool = False, **keys: Any) -> list[str]:
        trainer = SimpleNamespace(
            checkpoint_suffix=suffix,
            is_data_parallel_master=first,
            is_fsdp=shards,
            device=torch.device("cpu"),
            task=SimpleNamespace(),
            cfg=SimpleNamespace(
                distributed_training=SimpleNamespace(use_sharded_state=shards),
                optimization=SimpleNamespace(max_update=0),
                model=None,
            ),
            get_num_updates=lambda: 5,
            get_model=torch.nn.Identity,
            state_dict=dict,
        )
        cfg = CheckpointConfig(save_dir=str(tmp_path), **keys)
        checkpointing.load_checkpoint(cfg, trainer)
        return loaded

    return run


def test_a_broken_shard_is_never_replaced_by_an_older_one_alone(tmp_path, resume):
    for rank in range(2):
        save(tmp_path / f"checkpoint_1_4-shard{rank}.pt", 4)
        save(tmp_path / f"checkpoint_last-shard{rank}.pt", 5, whole=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for rank in range(2):
        with pytest.raises(CheckpointError, match=r"shard\d\.pt: refused.*all checkpoint_last\*"):
            resume(first=rank == 0, suffix=f"-shard{rank}", shards=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    # Without shards the same is repaired.
    save(tmp_path / "checkpoint_1_4.pt", 4)
    save(tmp_path / "checkpoint_last.pt", 5, whole=False)
    assert resume() == ["read"]


def test_a_rank_that_reads_for_itself_verifies_for_itself(tmp_path, resume):
    save(tmp_path / "checkpoint_last.pt", 5, whole=False)
    assert resume(first=False) == ["read"]  # what it gets, rank 0 has read
    with pytest.raises(CheckpointError, match="cut short"):
        resume(first=False, load_checkpoint_on_all_dp_ranks=True)


@pytest.mark.parametrize("key", ["restore_file", "finetune_from_model"])
def test_a_broken_file_to_begin_from_is_refused_before_it_is_read_and_left_alone(
    tmp_path, resume, key
):
    named = save(tmp_path / "from.pt", 5, whole=False)
    save(tmp_path / "checkpoint_1_4.pt", 4)
    before = named.read_bytes()
    with pytest.raises(CheckpointError, match=r"from\.pt: refused"):
        resume(**{key: str(named)})
    assert named.read_bytes() == before and not (tmp_path / "from.pt.broken").exists()
    if key == "finetune_from_model":  # a begun run resumes from its own, whatever became of that
        save(tmp_path / "checkpoint_last.pt", 6)
        assert resume(**{key: str(named)}) == ["read"]


def test_what_one_rank_cannot_use_stops_the_others(resume, monkeypatch):
    monkeypatch.setattr(checkpointing, "any_rank", lambda flag, device: True)
    with pytest.raises(CheckpointError, match="another rank cannot use the checkpoint"):
        resume(first=False)


def test_ranks_that_came_to_different_updates_do_not_train_together(resume, monkeypatch):
    compared = []
    monkeypatch.setattr(
        checkpointing, "require_alike", lambda what, **numbers: compared.append((what, numbers))
    )
    resume(first=False)
    assert compared == [("the update that they resume from", {"update": 5})]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "update 5 is saved; the same command"),
        ({"no_save": True}, r"update 5 is not saved.*checkpoint\.no_save=true"),
        ({"no_last_checkpoints": True}, r"update 5 is not saved.*checkpoint\.no_last_checkpoints"),
    ],
)
def test_after_sigterm_nothing_is_called_saved_that_is_not(keys, said, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", lambda *_: None)
    trainer = SimpleNamespace(get_num_updates=lambda: 5, device=torch.device("cpu"), unsaved=None)
    cfg = SimpleNamespace(checkpoint=CheckpointConfig(**keys))
    with caplog.at_level(logging.WARNING), pytest.raises(SystemExit):
        preemption._save_and_exit(cfg, trainer, None)
    assert re.search(said, caplog.text)
    assert caplog.text.count("saved") == 1


def test_the_state_of_a_task_comes_to_every_rank_with_the_extra_state(tmp_path):
    # fairseq saves it and does not read it.
    path = tmp_path / "checkpoint.pt"
    history = [{"num_updates": 1, "lr_scheduler_state": {}}]
    state = {"model": {}, "cfg": {}, "optimizer_history": history, "task_state": {"a": 1}}
    torch.save({**state, "args": None, "extra_state": {"epoch": 1}}, path)
    found = checkpointing.load_checkpoint_to_cpu(str(path))["extra_state"]
    assert (found["epoch"], found["task_state"]) == (1, {"a": 1})
