"""What cannot train is said before it starts, with its key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from mgf_fairseq.host import start_checks
from mgf_fairseq.host.start_checks import SettingsError, look_before_start, unknown_keys
from mgf_fairseq.host.sweeps import as_folder, separate_jobs

FINETUNE = Path(__file__).resolve().parents[2] / "examples" / "finetune" / "config"


@pytest.fixture
def config(corpus, user_dir, pretrain_configs, tmp_path):
    """`config(*overrides)`: the debug recipe."""

    def compose(*overrides: str) -> DictConfig:
        given = [f"task.data={corpus}", f"common.user_dir={user_dir}"]
        given += [f"checkpoint.save_dir={tmp_path / 'run'}", *overrides]
        return tiny.compose_recipe(pretrain_configs, "mgf_debug", given)

    return compose


def test_the_recipe_as_it_is_can_start(config):
    look_before_start(config())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["checkpoint.restore_file=no/such.pt"], "checkpoint.restore_file='no/such.pt': no such"),
        (["checkpoint.finetune_from_model=no.pt"], "checkpoint.finetune_from_model='no.pt': no su"),
        (["dataset.valid_subset=vaild"], "dataset.valid_subset=vaild: .*did you mean valid"),
        (["dataset.train_subset=other"], "dataset.train_subset=other: no .*other.tsv"),
        (["task.data=/nowhere"], "task.data=/nowhere is no folder.*mgf prepare"),
        (["criterion._name=mfg"], "criterion._name=mfg is not known; did you mean mgf"),
        (["optimizer._name=adm"], "optimizer._name=adm is not known; did you mean adam"),
        (["optimization.max_update=0"], "never end.*optimization.max_update"),
        (["optimization.lr=[]"], r"optimization.lr=\[\] must be a list"),
        (["optimization.update_freq=[0]"], r"optimization.update_freq=\[0\] must be"),
        (["dataset.max_tokens=null"], "give dataset.max_tokens"),
        (["common.fp16=true", "common.bf16=true"], "common.fp16 and common.bf16 are two"),
        (["common.amp=true", "+task.autocast=bf16"], "two autocasts"),
        (["common.wandb_project=mine"], "common.wandb_project needs wandb: pip install wandb"),
        (["checkpoint.write_checkpoints_asynchronously=true"], "asynchronously.* needs iopath"),
        (["task.train_subset=train_b"], "task.train_subset=train_b"),
    ],
)
def test_what_cannot_start_is_named_with_its_key(config, overrides, said, monkeypatch):
    monkeypatch.setattr(start_checks, "_installed", lambda module: False)
    with pytest.raises(SettingsError, match=said):
        look_before_start(config(*overrides))


def test_a_first_start_may_name_the_checkpoint_that_it_will_write(config, tmp_path):
    own = tmp_path / "run" / "checkpoint_last.pt"
    look_before_start(config(f"checkpoint.restore_file={own}"))


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (None, "model.w2v_path: .*no such checkpoint"),
        ({"model": {"w2v_path": "first.pt"}}, "fine-tuned already.*first.pt.*finetune_from_model="),
        ({"task": {"normalize": False}}, "task.normalize=True, but .* was trained with False"),
    ],
)
def test_fine_tuning_begins_from_a_pre_trained_checkpoint(corpus, user_dir, tmp_path, saved, said):
    path = tmp_path / "from.pt"
    if saved is not None:
        torch.save({"model": {}, "cfg": saved}, path)
    given = [f"task.data={corpus}", f"model.w2v_path={path}", f"checkpoint.save_dir={tmp_path}"]
    cfg = tiny.compose_recipe(FINETUNE, "ctc_quick", [*given, f"common.user_dir={user_dir}"])
    with pytest.raises(SettingsError, match=said) as refused:
        look_before_start(cfg)
    assert "task.labels=ltr: no dict.ltr.txt" in str(refused.value)


def test_an_added_key_that_nobody_knows_is_named_with_the_nearest(config):
    cfg = config()
    assert unknown_keys(cfg) == []
    OmegaConf.set_struct(cfg, False)
    cfg.model.drpout, cfg.task.max_sampel_size, cfg.optimizer.adam_beta = 0.1, 1, 2
    assert [line.split("did you mean ")[1] for line in unknown_keys(cfg)] == [
        "max_sample_size?",
        "dropout?",
        "adam_betas?",
    ]


# ---- sweeps


def swept(save_dir: str, *overrides: str) -> dict[str, list[str]]:
    """The overrides of a sweep's jobs."""
    config = OmegaConf.create(
        {
            "checkpoint": {"save_dir": save_dir},
            "hydra": {"overrides": {"task": list(overrides), "hydra": []}},
        }
    )
    separate_jobs(config)
    return OmegaConf.to_container(config.hydra.overrides, resolve=False)


def test_the_jobs_of_a_sweep_get_a_folder_by_what_is_swept():
    found = swept("runs/${x}", "task.data=/d", "optimization.lr=[0.1],[0.2]", "common.seed=1,2")
    added = OverridesParser.create().parse_overrides([found["task"][-1], found["hydra"][-1]])
    assert added[0].value() == "runs/${x}/${mgf_folder:${hydra:job.override_dirname}}"
    assert added[1].value() == ["task.data", "checkpoint.save_dir"]
    assert as_folder("common.seed=1,optimization.lr=[0.1]") == "common.seed=1,optimization.lr=0.1"


@pytest.mark.parametrize(
    ("save_dir", "overrides"),
    [
        ("runs/x", ["task.data=/d"]),  # one job
        ("runs/${hydra:runtime.choices.objectives}", ["objectives=all,no_sample"]),
        ("runs/x", ["checkpoint.save_dir=a,b"]),
    ],
)
def test_a_folder_that_follows_from_the_sweep_stays(save_dir, overrides):
    assert swept(save_dir, *overrides)["task"] == overrides
