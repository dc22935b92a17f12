"""Looks at the settings of a training before it starts, and names key and fix of what cannot work.

fairseq would find these after minutes, in its own words, or not at all.
:mod:`mgf_fairseq.host.launcher` asks before any rank starts, and
:mod:`mgf_fairseq.host.checkpointing` for configurations that do not load it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY

from ..checkpoints.files import CheckpointError, peek_state
from ..checkpoints.reading import LAST, SAFE_CLASSES
from ..data.rates import other_rate
from ..utils.suggestions import near_or_all

logger = logging.getLogger(__name__)

_STOCK_TASKS = ("audio_finetuning", "audio_classification")  # fairseq's, on our manifests
_NEEDS = {  # a setting of `common` -> the modules of which it needs one
    "tensorboard_logdir": ("tensorboard", "tensorboardX"),
    "wandb_project": ("wandb",),
    "azureml_logging": ("azureml",),
    "aim_repo": ("aim",),
}


class SettingsError(ValueError):
    """Settings that cannot train, each with its key and what to do."""


def look_before_start(cfg: Any) -> None:
    """Look at a whole configuration, as fairseq's ``main`` gets it.

    Raises:
        SettingsError: naming everything that cannot work.
    """
    found = [problem for check in _CHECKS for problem in check(cfg)]
    if found:
        raise SettingsError("; ".join(found))


def unknown_keys(cfg: Any) -> list[str]:
    """Name keys that a command has added (``+``) and no configuration knows, each with the nearest.

    fairseq would stop at the first of them, in the words of omegaconf.
    """
    known = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
    for group in ("criterion", "optimizer", "lr_scheduler"):
        known[group] = REGISTRIES[group]["dataclass_registry"]
    found = []
    for group, registry in known.items():
        node = cfg.get(group)
        if not isinstance(node, Mapping) or (kind := registry.get(node.get("_name"))) is None:
            continue
        fields = {field.name for field in dataclasses.fields(kind)}
        found += [
            f"{group}.{key} is not known; {near_or_all(str(key), fields)}"
            for key in node
            if key not in fields and key != "_name"
        ]
    return found


def say_batch(cfg: Any) -> str:
    """Say how much audio an update is, at most; nothing where samples are not counted."""
    rate, samples = cfg.task.get("sample_rate"), cfg.dataset.max_tokens
    if not rate or not samples:
        return ""
    ranks = int(cfg.distributed_training.distributed_world_size)
    number = int(cfg.optimization.update_freq[0])
    seconds = samples / rate
    total = seconds * ranks * number
    return (
        f"an update is at most {total:.1f} s of audio ({total / 3600:.3g} h): {seconds:.1f} s "
        f"(dataset.max_tokens) x {ranks} ranks x {number} (optimization.update_freq)"
    )


# ---- files that are named


def _begun_from(cfg: Any) -> Iterator[str]:
    checkpoint = cfg.checkpoint
    named = str(checkpoint.restore_file)
    own = Path(checkpoint.save_dir, LAST)
    if named != LAST and not Path(named).is_file() and Path(named).resolve() != own.resolve():
        beside = Path(checkpoint.save_dir, named)
        there = f"; {beside} is there" if named and beside.is_file() else ""
        yield (
            f"checkpoint.restore_file={named!r}: no such file{there}. Name a checkpoint, or leave "
            f"it out to begin anew or from {own}"
        )
    begun = checkpoint.finetune_from_model
    if begun is None or own.is_file():
        return
    if not Path(begun).is_file():
        yield f"checkpoint.finetune_from_model={begun!r}: no such file"
    if named != LAST:
        yield (
            "checkpoint.finetune_from_model and checkpoint.restore_file both say what to begin "
            "from; give one: finetune_from_model takes the weights alone, restore_file resumes"
        )
    resets = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")
    if given := [f"checkpoint.{key}" for key in resets if getattr(checkpoint, key)]:
        yield f"checkpoint.finetune_from_model resets everything by itself: leave out {given[0]}"


def _pretrained(cfg: Any) -> Iterator[str]:
    """What fine-tuning begins from: there, pre-trained, and of the same normalization."""
    path, normalize = cfg.model.get("w2v_path"), cfg.task.get("normalize")
    if path is None or cfg.model.get("w2v_args") is not None:
        return
    if Path(path).is_dir():
        yield f"model.w2v_path={path} is a folder; name a checkpoint in it, such as {path}/{LAST}"
        return
    try:
        saved = peek_state(Path(path), SAFE_CLASSES).get("cfg") or {}
    except CheckpointError as error:
        yield f"model.w2v_path: {error}"
        return
    if origin := (saved.get("model") or {}).get("w2v_path"):
        yield (
            f"model.w2v_path={path} is fine-tuned already; give the checkpoint that it was "
            f"fine-tuned from ({origin}), and checkpoint.finetune_from_model={path} beside it to "
            "begin with the fine-tuned weights"
        )
        return
    trained = (saved.get("task") or {}).get("normalize")
    if trained is not None and normalize is not None and bool(trained) != bool(normalize):
        yield f"task.normalize={normalize}, but {path} was trained with {trained}: give the same"


def _data(cfg: Any) -> Iterator[str]:
    """Manifests, labels and dictionaries of the sets that are named."""
    folder = Path(str(cfg.task.get("data") or ""))
    if "data" not in cfg.task or cfg.task.get("multi_corpus_keys") or not _is_ours(cfg):
        return
    if not folder.is_dir():
        yield (f"task.data={folder} is no folder; make it with 'mgf prepare AUDIO --dest {folder}'")
        return
    corpora = list(cfg.task.get("corpora") or {})
    sets = {"dataset.train_subset": [str(cfg.dataset.train_subset)]}
    if not cfg.dataset.disable_validation:
        sets["dataset.valid_subset"] = str(cfg.dataset.valid_subset).split(",")
    for key, names in sets.items():
        for name in names:
            inside = [folder / c for c in corpora] if corpora and "/" not in name else [folder]
            for place in inside:
                if not (place / f"{name}.tsv").is_file():
                    there = [path.stem for path in place.glob("*.tsv")]
                    yield f"{key}={name}: no {place / name}.tsv; {near_or_all(name, there)}"
    if (labels := cfg.task.get("labels")) is None:
        return
    files = [f"dict.{labels}.txt", *(f"{n}.{labels}" for names in sets.values() for n in names)]
    lacking = [name for name in files if not (folder / name).is_file()]
    if lacking:
        there = [path.name.split(".")[1] for path in folder.glob("dict.*.txt")]
        yield (
            f"task.labels={labels}: no {lacking[0]} in {folder}; {near_or_all(str(labels), there)} "
            f"('mgf prepare ... --labels {labels}' makes those that it knows)"
        )


def _rates(cfg: Any) -> Iterator[str]:
    """fairseq's own tasks stop at the first file of another rate, wherever it comes."""
    if cfg.task.get("_name") in _STOCK_TASKS:
        names = (cfg.dataset.train_subset, *str(cfg.dataset.valid_subset).split(","))
        paths = (Path(str(cfg.task.data), f"{name}.tsv") for name in names)
        yield from filter(None, (other_rate(path, cfg.task.sample_rate) for path in paths))


def _is_ours(cfg: Any) -> bool:
    """Whether the task reads ``<data>/<set>.tsv``."""
    name = str(cfg.task.get("_name"))
    return name.startswith("mgf_") or name in _STOCK_TASKS


# ---- names in registries


def _names(cfg: Any) -> Iterator[str]:
    known = {
        "task": TASK_REGISTRY,
        "model": {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY},
        "criterion": CRITERION_REGISTRY,
        "optimizer": OPTIMIZER_REGISTRY,
        "lr_scheduler": LR_SCHEDULER_REGISTRY,
    }
    for group, registry in known.items():
        node = cfg.get(group)
        name = node.get("_name") if hasattr(node, "get") else node
        if name is None:
            yield f"{group}._name is not given; {near_or_all('', registry)}"
        elif name not in registry:
            yield f"{group}._name={name} is not known; {near_or_all(str(name), registry)}"


def _batch(cfg: Any) -> Iterator[str]:
    data = cfg.dataset
    if data.max_tokens is None and data.batch_size is None:
        yield "give dataset.max_tokens (audio samples per batch), or dataset.batch_size"
    for key in ("max_tokens", "batch_size"):
        if data[key] is not None and data[key] <= 0:
            yield f"dataset.{key}={data[key]} must be above 0"
    if data.num_workers < 0:
        yield f"dataset.num_workers={data.num_workers} must be 0 or more"


def _schedule(cfg: Any) -> Iterator[str]:
    limits = cfg.optimization
    if not any(
        limit and limit > 0
        for limit in (limits.max_update, limits.max_epoch, limits.stop_time_hours)
    ):
        yield "the training would never end: give optimization.max_update, above 0"
    if not limits.lr or not all(math.isfinite(rate) and rate > 0 for rate in limits.lr):
        yield f"optimization.lr={list(limits.lr or [])} must be a list of rates above 0, as [0.001]"
    if not limits.update_freq or not all(number >= 1 for number in limits.update_freq):
        yield (
            f"optimization.update_freq={list(limits.update_freq or [])} must be a list of whole "
            "numbers above 0, as [4]"
        )


def _precision(cfg: Any) -> Iterator[str]:
    common = cfg.common
    given = [f"common.{key}" for key in ("fp16", "bf16", "amp") if common.get(key)]
    if len(given) > 1:
        yield f"{' and '.join(given)} are two precisions; give one"
    if common.amp and cfg.task.get("autocast", "none") != "none":
        yield (
            f"task.autocast={cfg.task.autocast} and common.amp=true are two autocasts; set one of "
            "them"
        )


def _packages(cfg: Any) -> Iterator[str]:
    """Packages that settings need; fairseq would train without them."""
    for key, modules in _NEEDS.items():
        if cfg.common.get(key) and not any(map(_installed, modules)):
            yield f"common.{key} needs {modules[0]}: pip install {modules[0]}, or leave it out"
    if cfg.checkpoint.write_checkpoints_asynchronously and not _installed("iopath"):
        yield (
            "checkpoint.write_checkpoints_asynchronously=true needs iopath: pip install iopath, or "
            "set it to false"
        )


def _installed(module: str) -> bool:
    with suppress(ImportError, ValueError):
        return importlib.util.find_spec(module) is not None
    return False


def _trained_set(cfg: Any) -> Iterator[str]:
    name = cfg.task.get("train_subset", cfg.dataset.train_subset)
    if name != cfg.dataset.train_subset:
        yield (
            f"dataset.train_subset={cfg.dataset.train_subset}, but task.train_subset={name}, which "
            "says what is shuffled and mixed; give both, or as the recipes do "
            "task.train_subset='${dataset.train_subset}'"
        )


_CHECKS: tuple[Callable[[Any], Iterator[str]], ...] = (
    _names,
    _begun_from,
    _pretrained,
    _data,
    _rates,
    _batch,
    _schedule,
    _precision,
    _packages,
    _trained_set,
)
