"""A checkpoint and a command that differ: what is free, what a key permits, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from omegaconf import OmegaConf

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.host import checkpointing
from mgf_fairseq.host.resuming import differences, resets_to_do, source_differences, source_digests

SETTINGS: dict[str, Any] = {
    "common": {"seed": 1, "log_interval": 100, "cpu": True},
    "checkpoint": {"save_interval_updates": 10, "reset_meters": False},
    "dataset": {"max_tokens": 100, "num_workers": 1, "train_subset": "train", "valid_subset": "v"},
    "distributed_training": {"distributed_world_size": 2},
    "optimization": {"lr": [0.1], "update_freq": [4], "max_update": 10, "clip_norm": 1.0},
    "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)", "lr": [0.1]},
    "lr_scheduler": {"warmup_updates": 3, "total_num_update": 10, "lr": [0.1]},
    "task": {"data": "here", "max_sample_size": 50, "corpora": {"a": 1}, "seed": 1},
    "criterion": {"loss_weights": {"frame": 1.0}, "nonfinite_budget": 20},
    "model": {"dropout": 0.1, "objectives": {"frame": {"level": "context"}}, "seed": 1},
}


def changed(**keys: Any) -> dict[str, Any]:
    """SETTINGS with some others; `__` for the dots."""
    config = OmegaConf.create(copy.deepcopy(SETTINGS))
    for key, value in keys.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "free",
    [
        {"optimization__max_update": 20, "lr_scheduler__total_num_update": 20},
        {"dataset__num_workers": 8, "dataset__valid_subset": "other"},
        {"common__log_interval": 1, "common__cpu": False, "checkpoint__save_interval_updates": 1},
        {"task__data": "elsewhere"},
        {"distributed_training__distributed_world_size": 8, "optimization__update_freq": [1]},
        {"distributed_training__distributed_world_size": 1},  # a machine was lost
        {"criterion__of_a_newer_version": 5},
        {"criterion__nonfinite_budget": 50},
    ],
)
def test_what_users_change_while_they_train_on_is_free(free):
    assert differences(SETTINGS, changed(**free)) == []


@pytest.mark.parametrize(
    ("key", "value", "permit"),
    [
        ("common__seed", 2, "reset_dataloader"),
        ("dataset__max_tokens", 200, "reset_dataloader"),
        ("optimization__update_freq", [8], "reset_dataloader"),
        ("task__max_sample_size", 60, "reset_dataloader"),
        ("task__corpora", {"a": 1, "b": 2}, "reset_dataloader"),
        ("optimization__lr", [0.2], "reset_lr_scheduler"),
        ("optimization__clip_norm", 2.0, "reset_lr_scheduler"),
        ("lr_scheduler__warmup_updates", 4, "reset_lr_scheduler"),
        ("optimizer__adam_betas", "(0.9, 0.99)", "reset_optimizer"),
        ("criterion__loss_weights__frame", 0.5, "reset_meters"),
        ("model__dropout", 0.0, "reset_meters"),
        ("model__objectives__frame__level", "latents", "reset_meters"),
        ("model__objectives__sample", {"level": "latents"}, "reset_meters"),
    ],
)
def test_each_other_change_is_named_once_with_the_key_that_permits_it(key, value, permit):
    (found,) = differences(SETTINGS, changed(**{key: value}))
    assert found.key.startswith(key.replace("__", ".")) and found.permitted_by == permit


def test_a_reset_is_done_once_unless_it_has_to_permit_another_change():
    asked, done = {"reset_dataloader": True}, {"reset_dataloader": True}
    (other,) = differences(SETTINGS, changed(common__seed=2))
    assert resets_to_do(asked, {}, [])["reset_dataloader"]
    assert not any(resets_to_do(asked, done, []).values())
    assert resets_to_do(asked, done, [other])["reset_dataloader"]


def test_data_are_compared_by_what_the_manifests_hold_and_not_by_place_or_name(tmp_path):
    lines = "a.wav\t1\nb.wav\t2\n"
    for name, text in {
        "old": f"/x\n{lines}",
        "moved": f"/y\n{lines}",
        "grown": f"/x\n{lines}c\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text(text)
    (tmp_path / "moved" / "unlab.tsv").write_text(f"/z\n{lines}")

    def digests(folder: str, split: str = "train") -> dict[str, str]:
        return source_digests(
            {"task": {"data": tmp_path / folder}, "dataset": {"train_subset": split}}
        )

    old = digests("old")
    assert source_differences(old, digests("moved")) == []
    assert source_differences(old, digests("moved", "unlab")) == []
    (found,) = source_differences(old, digests("grown"))
    assert "train.tsv holds has changed" in str(found) and found.permitted_by == "reset_dataloader"
    assert source_differences({}, digests("grown")) == []  # a checkpoint that does not say


# ---- through the host


class Run:
    """Trainings in one folder, each of which saves what it was begun with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.read: list[Any] = []  # the group `checkpoint` as fairseq was given it
        monkeypatch.setattr(checkpointing, "look_before_start", lambda cfg: None)
        monkeypatch.setattr(checkpointing, "require_best_metric", lambda trainer: None)
        monkeypatch.setattr(checkpointing, "_load_checkpoint", self._load)

    def _load(self, cfg: Any, trainer: Any, **_: Any) -> tuple[None, None]:
        self.read.append(cfg)
        return None, None  # as fairseq where there is no extra state

    def __call__(
        self, *, width: int = 3, save: str = "run", keys: Any = None, **settings: Any
    ) -> Any:
        keys = {"save_dir": str(self.folder / save), **(keys or {})}
        config = OmegaConf.create(changed(**settings))
        config.checkpoint = OmegaConf.structured(CheckpointConfig(**keys, model_parallel_size=1))
        config.distributed_training.use_sharded_state = False
        model = torch.nn.Linear(width, 1)
        trainer = SimpleNamespace(
            checkpoint_suffix="",
            is_data_parallel_master=True,
            is_fsdp=False,
            device=torch.device("cpu"),
            cfg=config,
            task=SimpleNamespace(),
            get_num_updates=lambda: 5,
            get_model=lambda: model,
            state_dict=lambda: {
                "model": model.state_dict(),
                "cfg": OmegaConf.to_container(config, enum_to_str=True),
            },
        )
        checkpointing.load_checkpoint(config.checkpoint, trainer)
        (self.folder / save).mkdir(exist_ok=True)
        path = self.folder / save / "checkpoint_last.pt"
        checkpoint_utils.torch_persistent_save(trainer.state_dict(), str(path))
        return self.read[-1]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_a_command_with_other_settings_hears_what_differs_and_what_would_permit_it(run):
    run()
    with pytest.raises(
        CheckpointError,
        match=r"other settings.*optimization\.lr: \[0\.1\] -> \[0\.2\].*"
        r"checkpoint\.reset_lr_scheduler=true",
    ):
        run(optimization__lr=[0.2])
    assert run(keys={"reset_lr_scheduler": True}, optimization__lr=[0.2]).reset_lr_scheduler
    # The same command again has nothing to reset, and resumes.
    assert not run(keys={"reset_lr_scheduler": True}, optimization__lr=[0.2]).reset_lr_scheduler


def test_weights_of_other_shapes_are_refused_whatever_is_permitted(run):
    run()
    every = dict.fromkeys(("reset_optimizer", "reset_meters", "reset_dataloader"), True)
    with pytest.raises(
        CheckpointError, match=r"other shapes.*weight: \(1, 3\) -> \(1, 4\).*model\.dropout"
    ):
        run(width=4, keys=every, model__dropout=0.5)


def test_with_restore_file_the_same_command_resumes_its_own_checkpoint(run):
    run(save="first")
    begin = {
        "restore_file": str(run.folder / "first" / "checkpoint_last.pt"),
        "reset_optimizer": True,
        "reset_meters": True,
    }
    first = run(keys=begin)
    assert first.restore_file == begin["restore_file"] and first.reset_optimizer
    again = run(keys=begin)
    assert again.restore_file == "checkpoint_last.pt"
    assert not (again.reset_optimizer or again.reset_meters)


def test_a_restore_file_from_elsewhere_does_not_write_over_another_run(run):
    run(save="first")
    run()
    with pytest.raises(CheckpointError, match="would be written over"):
        run(keys={"restore_file": str(run.folder / "first" / "checkpoint_last.pt")})
    # Back to an earlier checkpoint of its own.
    earlier = run.folder / "run" / "checkpoint_1_5.pt"
    earlier.write_bytes((run.folder / "run" / "checkpoint_last.pt").read_bytes())
    assert run(keys={"restore_file": str(earlier)}).restore_file == str(earlier)


def test_a_run_that_began_from_a_model_resumes_under_a_reset_that_permits_a_change(run):
    run(save="first")
    begun = {"finetune_from_model": str(run.folder / "first" / "checkpoint_last.pt")}
    assert run(keys=begun, optimization__lr=[0.3]).finetune_from_model
    resumed = run(keys={**begun, "reset_lr_scheduler": True}, optimization__lr=[0.2])
    assert resumed.finetune_from_model is None and resumed.reset_lr_scheduler


def test_the_best_score_of_another_training_in_this_process_is_forgotten(run):
    checkpoint_utils.save_checkpoint.best = 0.1
    run()
    assert not hasattr(checkpoint_utils.save_checkpoint, "best")
