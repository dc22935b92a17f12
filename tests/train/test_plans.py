"""What `mgf pretrain` and `mgf finetune` plan: settings that compose, and missing things named."""

from __future__ import annotations

from pathlib import Path

import pytest
from fairseq.dataclass.initialize import add_defaults
from omegaconf import DictConfig
from tiny_checkpoints import finetuned, mgf_checkpoint

from mgf_fairseq.train.plans import TASKS, Plan, plan_finetuning, plan_pretraining
from mgf_fairseq.train.recipes import PlanError, read_recipe


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "valid"):
        for ending in ("tsv", "ltr", "spk"):
            (tmp_path / f"{split}.{ending}").touch()
    for ending in ("ltr", "spk"):
        (tmp_path / f"dict.{ending}.txt").touch()
    return tmp_path


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def _composed(plan: Plan) -> DictConfig:
    """The configuration of the plan's command, merged with fairseq's typed classes."""
    overrides = [word for word in plan.command[5:] if "=" in word]
    assert plan.command[0] == "fairseq-hydra-train"
    config = read_recipe(plan.recipe, overrides)
    add_defaults(config)  # an unknown key raises
    return config


@pytest.mark.parametrize("size", ["mini", "base"])
def test_a_pretraining_plan_is_its_recipe_on_this_machine(data: Path, size: str) -> None:
    plan = plan_pretraining(data, size)
    config = _composed(plan)
    assert (config.task.data, config.common.cpu) == (str(data), True)
    assert config.checkpoint.save_dir == str(plan.folder.resolve())
    assert plan.folder == Path("runs") / f"mgf_{size}" / "all"
    assert plan.updates == config.optimization.max_update


def test_updates_hours_and_settings_are_those_asked_for(data: Path) -> None:
    settings = ["objectives=no_sample", "common.seed=7", "lr_scheduler.warmup_updates=3"]
    plan = plan_pretraining(data, updates=60, hours=0.5, overrides=settings)
    config = _composed(plan)
    assert config.optimization.max_update == plan.updates == 60
    assert config.optimization.stop_time_hours == 0.5
    assert config.dataset.validate_interval_updates == 60
    assert (config.common.seed, config.lr_scheduler.warmup_updates) == (7, 3)
    assert "sample" not in config.model.objectives and plan.folder.name == "no_sample"


def test_fewer_or_more_updates_keep_the_shares_of_the_learning_rate(data: Path) -> None:
    recipe = _composed(plan_pretraining(data))
    share = recipe.lr_scheduler.warmup_updates / recipe.optimization.max_update
    for updates in (3, 600, 10_000):
        config = _composed(plan_pretraining(data, updates=updates))
        warmup = max(1, round(share * updates))
        assert config.lr_scheduler.warmup_updates == warmup
        assert config.lr_scheduler.total_num_update == updates  # where the decay ends
    checkpoint = mgf_checkpoint(data / "ck.pt")
    config = _composed(plan_finetuning(checkpoint, data, updates=50, hours=2))
    assert (config.lr_scheduler.phase_ratio, config.lr_scheduler.max_update) == (
        [0.1, 0.4, 0.5],
        50,
    )
    assert config.optimization.stop_time_hours == 2


def test_several_gpus_are_all_used(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    config = _composed(plan_pretraining(data))
    assert config.distributed_training.distributed_world_size == 4 and not config.common.cpu


@pytest.mark.parametrize(
    ("task", "amount"), [(task, amount) for task, kind in TASKS.items() for amount in kind.recipes]
)
def test_a_finetuning_plan_composes_and_takes_what_the_encoder_was_trained_with(
    data: Path, task: str, amount: str
) -> None:
    for name in ("tsv", "ltr", "spk"):
        (data / f"train_{amount}.{name}").touch()
    checkpoint = mgf_checkpoint(data / "ck.pt")
    labels = "spk" if task == "classification" else None
    plan = plan_finetuning(checkpoint, data, task, labels, amount, updates=50)
    config = _composed(plan)
    assert config.model._name == f"wav2vec_{task}" and config.task.normalize is True
    assert config.task.labels == labels or (labels is None and config.task.labels == "ltr")
    assert config.model.w2v_path == str(checkpoint)
    assert config.model.freeze_finetune_updates < config.optimization.max_update == 50


def test_without_a_gpu_the_quick_recipe_is_taken(data: Path) -> None:
    checkpoint = mgf_checkpoint(data / "ck.pt")
    assert plan_finetuning(checkpoint, data).recipe.stem == "ctc_quick"
    assert plan_finetuning(checkpoint, data, "seq2seq").recipe.stem == "seq2seq_quick"


def test_what_is_missing_is_named_with_the_command_that_makes_it(data: Path) -> None:
    checkpoint = mgf_checkpoint(data / "ck.pt")
    with pytest.raises(PlanError, match=r"--labels; .* holds ltr, spk"):
        plan_finetuning(checkpoint, data, "classification")
    with pytest.raises(PlanError, match=r"no train.emo, valid.emo, dict.emo.txt: .*--labels emo"):
        plan_finetuning(checkpoint, data, "classification", "emo")
    with pytest.raises(PlanError, match=r"train_1h.tsv.*subset.py .* writes train_1h"):
        plan_finetuning(checkpoint, data, amount="1h")
    with pytest.raises(PlanError, match="--amount 1h: seq2seq has quick, all"):
        plan_finetuning(checkpoint, data, "seq2seq", amount="1h")
    with pytest.raises(PlanError, match="fine-tuned already"):
        plan_finetuning(finetuned(data / "ctc.pt"), data)
    (data / "valid.tsv").unlink()
    with pytest.raises(PlanError, match=r"holds no valid.tsv: mgf prepare"):
        plan_pretraining(data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optimization.lrr=3"], "optimization.lrr"),
        (["opt"], "no setting"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_starts(
    data: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        plan_pretraining(data, overrides=settings)
    for updates, hours in ((0, None), (None, 0.0)):
        with pytest.raises(PlanError, match="must be"):
            plan_pretraining(data, updates=updates, hours=hours)


def test_keys_that_only_have_a_default_need_no_plus(data: Path) -> None:
    settings = [
        "model.extractor_mode=default",
        "model.objectives.frame.features=[mel]",
        "model.encoder_layers=3",  # which the YAML names
        "+task.compile=encoder",
    ]
    plan = plan_pretraining(data, "base", overrides=settings)
    assert f"+{settings[0]}" in plan.overrides and f"+{settings[1]}" in plan.overrides
    assert settings[2] in plan.overrides and settings[3] in plan.overrides
    tuned = plan_finetuning(
        mgf_checkpoint(data / "ck.pt"),
        data,
        overrides=["optimizer._name=adam_layer_decay", "optimizer.layer_decay=0.7"],
    )
    assert tuned.overrides[-3:-1] == (
        "optimizer._name=adam_layer_decay",
        "+optimizer.layer_decay=0.7",
    )


def test_a_misspelled_key_without_a_place_in_the_yaml_gets_the_nearest_too(data: Path) -> None:
    with pytest.raises(PlanError, match=r"model\.extractor_mod \(did you mean .*extractor_mode'"):
        plan_pretraining(data, "base", overrides=["model.extractor_mod=default"])


def test_a_misspelled_key_gets_the_nearest_before_anything_starts(data: Path) -> None:
    with pytest.raises(
        PlanError, match=r"no key optimization\.lrr \(did you mean 'optimization\.lr'"
    ):
        plan_pretraining(data, overrides=["optimization.lrr=[0.1]", "+model.new_key=1"])
