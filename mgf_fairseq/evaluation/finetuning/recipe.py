"""The recipe of the recognition task: which YAML, with which overrides, and what it amounts to.

evaluation/protocols/asr.py trains by it; its digest decides whether a result is still valid.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ...host.start_checks import unknown_keys
from ...host.training_process import override
from ...inference.wer import POST_PROCESS_OF_LABELS
from ...train.recipes import PlanError, read_recipe, with_plus
from ...utils.package import config_dir

RECIPE = "ctc_evaluate"


class RecipeError(ValueError):
    """A fine-tuning recipe or one of its overrides cannot be used; the message names the fix."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as it will be run."""

    path: Path
    labels: str
    overrides: tuple[str, ...]  # hydra's, beside those that name files
    config: DictConfig  # the YAML with the overrides

    @property
    def max_update(self) -> int:
        """Updates of one training."""
        return int(self.config.optimization.max_update)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a reader of the number wants to know, and a digest of the whole configuration."""
        config = self.config
        samples = int(config.dataset.max_tokens) * int(config.optimization.update_freq[0])
        whole = json.dumps(OmegaConf.to_container(config), sort_keys=True)
        return {
            "recipe": self.path.stem,
            "labels": self.labels,
            "overrides": list(self.overrides),
            "max_update": self.max_update,
            "lr": float(config.optimization.lr[0]),
            "seconds_per_update": samples / int(config.task.sample_rate),
            "freeze_finetune_updates": int(config.model.freeze_finetune_updates),
            "checkpoint": f"lowest {config.checkpoint.best_checkpoint_metric} on valid",
            "decoding": "greedy, no language model",
            "recipe_digest": hashlib.sha256(whole.encode()).hexdigest()[:16],
        }


def find_recipe(path: Path | None = None) -> Path:
    """The YAML of the recognition task: as given, or this package's own ctc_evaluate.yaml.

    Raises:
        RecipeError: the given one does not exist.
    """
    if path is None:
        return config_dir("finetune") / f"{RECIPE}.yaml"
    found = path if path.suffix == ".yaml" else path.with_suffix(".yaml")
    if not found.is_file():
        raise RecipeError(f"{path} is not a fine-tuning recipe: give a .yaml file")
    return found.resolve()


def load_recipe(
    path: Path | None = None,
    labels: str = "ltr",
    max_update: int | None = None,
    overrides: tuple[str, ...] = (),
) -> Recipe:
    """Read a recipe with its overrides.

    Args:
        path: the YAML; the project's own if None.
        labels: ltr, or spm for SentencePiece units.
        max_update: updates, if other than the recipe's; the intervals of validation follow.
        overrides: further ``key=value``, as hydra takes them; a ``+`` is not needed.

    Raises:
        RecipeError: there is no such recipe, or an override is none or of an unknown key.
    """
    if labels not in POST_PROCESS_OF_LABELS:
        raise RecipeError(f"labels={labels!r} is none of {', '.join(POST_PROCESS_OF_LABELS)}")
    path = find_recipe(path)
    config = _merge(path)
    added = [f"task.labels={labels}", f"criterion.post_process={POST_PROCESS_OF_LABELS[labels]}"]
    if max_update is not None:
        if max_update < 1:
            raise RecipeError(f"max_update={max_update} must be at least 1")
        interval = max(1, min(int(config.dataset.validate_interval_updates), max_update))
        added += [
            f"optimization.max_update={max_update}",
            f"dataset.validate_interval_updates={interval}",
            f"checkpoint.save_interval_updates={interval}",
        ]
    for text in overrides:
        if "=" not in text.lstrip("+~") or text.startswith("~"):
            raise RecipeError(f"{text!r} is no override: expected key=value")
    every = _known(path, (*added, *overrides))
    changes = OmegaConf.from_dotlist([text.lstrip("+") for text in every])
    merged = OmegaConf.merge(config, changes)
    assert isinstance(merged, DictConfig)
    return Recipe(path, labels, every, merged)


def _merge(path: Path) -> DictConfig:
    """Lay the files of a recipe's defaults list over each other, as hydra does."""
    try:
        recipe = OmegaConf.load(path)
        names = [str(name) for name in recipe.get("defaults", []) if name != "_self_"]
        parts = [OmegaConf.load(path.parent / f"{name}.yaml") for name in names]
    except (OSError, ValueError, AttributeError) as error:
        raise RecipeError(f"{path} cannot be read as a recipe ({error})") from None
    merged = OmegaConf.merge(*parts, {k: v for k, v in recipe.items() if k != "defaults"})
    assert isinstance(merged, DictConfig)
    if OmegaConf.select(merged, "model._name") != "wav2vec_ctc":
        raise RecipeError(f"{path}: recognition needs a CTC recipe (model._name: wav2vec_ctc)")
    return merged


@functools.cache  # composing takes a second
def _known(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides as a training takes them, unless one is of a key that it would refuse later."""
    try:
        complete = with_plus(path, overrides)
        unknown = unknown_keys(read_recipe(path, complete))
    except PlanError as error:
        raise RecipeError(str(error)) from None
    if unknown:
        raise RecipeError(f"{path.stem}: {'; '.join(unknown)}")
    return tuple(complete)


@dataclass(frozen=True)
class Start:
    """What a training starts from."""

    checkpoint: Path
    random_weights: bool  # the run draws its own, and takes only the shape from the checkpoint
    normalize: bool
    sample_rate: int  # Hz


def run_overrides(start: Start, data: Path, folder: Path, seed: int, cuda: bool) -> list[str]:
    """What a run sets beside its recipe: files, seed, and what the encoder was trained with."""
    found = [
        override("task.data", data.resolve()),
        override("model.w2v_path", start.checkpoint.resolve()),
        override("checkpoint.save_dir", folder.resolve()),
        override("common.seed", seed),
        override("common.cpu", not cuda),
        override("common.log_interval", 5),
        override("task.normalize", start.normalize),
        override("task.sample_rate", start.sample_rate),
    ]
    return [*found, "+model.no_pretrained_weights=true"] if start.random_weights else found
