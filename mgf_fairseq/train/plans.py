"""What `mgf pretrain` and `mgf finetune` will run: a recipe, its settings, and the numbers to show.

Between the verbs and fairseq-hydra-train, which runs the plan and checks all of it once more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from ..checkpoints.encoder import read_encoder
from ..host.training_process import override, training_command
from ..utils.package import config_dir
from .recipes import PlanError, read_recipe, with_plus

PRETRAINING = {
    "SI-SDR": "sample_si_sdr",
    "log-mel": "frame_mel",
    "contrastive": "phoneme_accuracy",
    "retrieval": "utterance_accuracy",
    "audio s/s": "audio_s_per_s",
}


@dataclass(frozen=True)
class Task:
    """A way to fine-tune."""

    labels: str  # ending of the label files; empty: to be given
    recipes: Mapping[str, str]  # amount -> name of the recipe
    metrics: Mapping[str, str]  # what the bar shows: a word -> the name of the logged number


TASKS = {
    "ctc": Task(
        "ltr",
        {"quick": "ctc_quick", "10min": "ctc_10min", "1h": "ctc_1h", "all": "ctc_all"},
        {"loss per letter": "nll_loss", "letters wrong, %": "valid_uer", "WER, %": "valid_wer"},
    ),
    "seq2seq": Task(
        "ltr",
        {"quick": "seq2seq_quick", "all": "seq2seq"},
        {"loss per letter": "nll_loss", "accuracy, %": "accuracy", "WER, %": "valid_wer"},
    ),
    "classification": Task(
        "",
        {"quick": "classification_quick", "all": "classification"},
        {"loss": "loss", "accuracy": "accuracy", "accuracy on valid": "valid_accuracy"},
    ),
}


@dataclass(frozen=True)
class Plan:
    """A training to run; the same plan again resumes it."""

    recipe: Path
    overrides: tuple[str, ...]
    folder: Path  # of its checkpoints and logs
    updates: int
    metrics: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        """The command that carries out the plan."""
        return training_command(self.recipe, self.overrides)


def plan_pretraining(
    data: Path,
    size: str = "mini",
    dest: Path | None = None,
    updates: int | None = None,
    hours: float | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Plan a pre-training.

    Args:
        data: folder of train.tsv and valid.tsv.
        size: mini, small or base.
        dest: folder of its checkpoints; that of the recipe if None.
        updates: how many; the recipe's if None. Warm-up and decay of the learning rate keep their
            shares of them.
        hours: after so many it saves and ends, finished or not; never if None. The learning rate
            follows the updates.
        overrides: further settings, as hydra takes them; they win. A ``+`` is not needed.

    Raises:
        PlanError: something is missing or does not fit.
    """
    _require_files(data, [], overrides)
    recipe = config_dir("pretrain") / f"mgf_{size}.yaml"
    overrides = with_plus(recipe, overrides)
    machine = _machine()
    config = read_recipe(recipe, _merged(machine, ["task.data=data"], overrides))
    chosen = dict(text.split("=", 1) for text in overrides if "=" in text)
    folder = dest or Path(os.environ.get("MGF_RUNS", "runs")) / recipe.stem / chosen.get(
        "objectives", "all"
    )
    added = [
        override("task.data", data.resolve()),
        override("checkpoint.save_dir", folder.resolve()),
    ]
    if updates is not None:
        added += _lasting(config, updates)
        share = int(config.lr_scheduler.warmup_updates) / int(config.optimization.max_update)
        # The decay takes what is left: fairseq's polynomial_decay ends at max_update.
        added.append(override("lr_scheduler.warmup_updates", max(1, round(share * updates))))
    added += _stopping(hours)
    return _plan(recipe, _merged(machine, added, overrides), folder, PRETRAINING)


def recording(tensorboard: bool, wandb: str | None) -> list[str]:
    """Settings that record a training for TensorBoard, below its folder, and as a run of W&B."""
    found = []
    if tensorboard:
        found.append(override("common.tensorboard_logdir", "${checkpoint.save_dir}/tensorboard"))
    if wandb is not None:
        found.append(override("common.wandb_project", wandb))
    return found


def plan_finetuning(
    checkpoint: Path,
    data: Path,
    task: str = "ctc",
    labels: str | None = None,
    amount: str | None = None,
    dest: Path | None = None,
    updates: int | None = None,
    overrides: Sequence[str] = (),
    hours: float | None = None,
) -> Plan:
    """Plan a fine-tuning.

    Args:
        checkpoint: a pre-trained checkpoint.
        data: folder of manifests and label files.
        task: of TASKS.
        labels: ending of the label files; that of the task if None.
        amount: which of the task's recipes; `quick` without a GPU and `all` with one if None.
        dest: folder of its checkpoints; below the runs' folder if None.
        updates: how many; the recipe's if None. The phases of the learning rate keep their shares.
        overrides: further settings, as hydra takes them; they win. A ``+`` is not needed.
        hours: as in `plan_pretraining`.

    Raises:
        PlanError: something is missing or does not fit.
        CheckpointError: the checkpoint cannot be used.
    """
    kind = TASKS[task]
    labels = labels or kind.labels
    if not labels:
        raise _no_labels(task, data)
    recipe = config_dir("finetune") / f"{kind.recipes[_amount(kind, task, amount)]}.yaml"
    folder = dest or Path(os.environ.get("MGF_RUNS", "runs")) / f"{task}_{labels}"
    overrides = with_plus(recipe, overrides)
    given = [
        override("task.data", data.resolve()),
        override("task.labels", labels),
        override("checkpoint.save_dir", folder.resolve()),
        override("common.cpu", not torch.cuda.is_available()),
        *_pretrained(checkpoint),
        *(["criterion.post_process=sentencepiece"] if labels == "spm" else []),
    ]
    config = read_recipe(recipe, _merged(["common.user_dir=null"], given, overrides))
    _require_files(data, [labels], overrides, str(config.dataset.train_subset))
    if updates is not None:
        frozen = min(int(config.model.freeze_finetune_updates), updates // 5)
        given += [*_lasting(config, updates), override("model.freeze_finetune_updates", frozen)]
    whole = _merged([], [*given, *_stopping(hours)], overrides)
    return _plan(recipe, whole, folder, kind.metrics)


def _no_labels(task: str, data: Path) -> PlanError:
    known = sorted(path.name.split(".")[1] for path in data.glob("dict.*.txt"))
    return PlanError(
        f"--task {task}: name the labels to learn with --labels; {data} holds "
        f"{', '.join(known) or 'none: mgf prepare writes them'}"
    )


def _pretrained(checkpoint: Path) -> list[str]:
    """Settings that name the pre-trained checkpoint and read audio as it does."""
    held = read_encoder(checkpoint)
    if held.history["fine_tuned"]:
        raise PlanError(f"{checkpoint} is fine-tuned already; give the pre-trained checkpoint")
    return [
        override("model.w2v_path", checkpoint.resolve()),
        override("task.normalize", held.normalize),
        override("task.sample_rate", held.sample_rate),
    ]


def _amount(kind: Task, task: str, amount: str | None) -> str:
    if amount is None:
        return "quick" if "quick" in kind.recipes and not torch.cuda.is_available() else "all"
    if amount not in kind.recipes:
        raise PlanError(f"--amount {amount}: {task} has {', '.join(kind.recipes)}")
    return amount


def _plan(recipe: Path, overrides: Sequence[str], folder: Path, metrics: Mapping[str, str]) -> Plan:
    config = read_recipe(recipe, _merged(["common.user_dir=null"], overrides, []))
    updates = int(config.optimization.max_update)
    interval = max(1, min(int(config.common.log_interval), updates // 100))
    known = {_key(text) for text in overrides}
    added = [] if "common.log_interval" in known else [override("common.log_interval", interval)]
    return Plan(recipe, (*overrides, *added), folder, updates, metrics)


def _machine() -> list[str]:
    """The settings of the machine's GPUs, or of its CPU."""
    count = torch.cuda.device_count()
    if count == 0:
        return ["run=cpu"]
    if count == 1:
        return ["run=gpu_1"]
    return ["run=gpu_8", override("distributed_training.distributed_world_size", count)]


def _stopping(hours: float | None) -> list[str]:
    """The setting that ends a training after a time."""
    if hours is None:
        return []
    if hours <= 0:
        raise PlanError(f"hours={hours:g} must be above 0")
    return [override("optimization.stop_time_hours", hours)]


def _lasting(config: DictConfig, updates: int) -> list[str]:
    """Settings for another number of updates than the recipe's."""
    if updates < 1:
        raise PlanError(f"--updates {updates} must be at least 1")
    save = min(int(config.checkpoint.save_interval_updates), updates)
    validate = min(int(config.dataset.validate_interval_updates), updates)
    return [
        override("optimization.max_update", updates),
        override("checkpoint.save_interval_updates", save),
        override("dataset.validate_interval_updates", validate),
    ]


def _merged(*groups: Sequence[str]) -> list[str]:
    """Overrides of which a later one replaces an earlier one of the same key."""
    found: dict[str, str] = {}
    for text in (text for group in groups for text in group):
        if "=" not in text and not text.startswith("~"):
            raise PlanError(
                f"{text!r} is no setting: expected key=value, as in optimization.lr=[0.001]"
            )
        found[_key(text)] = text
    return list(found.values())


def _key(text: str) -> str:
    return text.partition("=")[0].lstrip("+~")


def _require_files(
    data: Path, labels: Sequence[str], overrides: Sequence[str], train: str = "train"
) -> None:
    """Name what is missing in a folder of manifests before anything is started."""
    if any(_key(text) in ("dataset.train_subset", "task.corpora") for text in overrides):
        return  # other names, which the training looks for itself
    wanted = [f"{split}.{end}" for split in (train, "valid") for end in ("tsv", *labels)]
    missing = [name for name in [*wanted, *(f"dict.{end}.txt" for end in labels)]
               if not (data / name).is_file()]  # fmt: skip
    if missing:
        with_labels = f" --labels {','.join(labels)}" if labels else ""
        subset = (
            f"; python examples/finetune/subset.py {data} writes {train}"
            if train != "train" and f"{train}.tsv" in missing
            else ""
        )
        raise PlanError(
            f"{data} holds no {', '.join(missing)}: mgf prepare SOURCE --dest {data}{with_labels} "
            f"writes the manifests of a folder of audio{subset}"
        )
