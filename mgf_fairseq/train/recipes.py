"""Find the YAML recipes of pre-training and fine-tuning, and read what they amount to.

Below plans.py; fairseq-hydra-train reads the same files.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq.dataclass.initialize import add_defaults, hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .. import plugin as plugin  # recipes name our task, model and criterion
from ..objectives.base import OBJECTIVES
from ..utils.suggestions import did_you_mean


class PlanError(ValueError):
    """A training cannot be started as asked; the message holds the fix."""


def read_recipe(recipe: Path, overrides: Sequence[str]) -> DictConfig:
    """Compose a recipe with overrides, as fairseq-hydra-train does.

    Raises:
        PlanError: there is no such recipe, or an override does not fit.
    """
    if not recipe.is_file():
        names = ", ".join(sorted(path.stem for path in recipe.parent.glob("*.yaml")))
        raise PlanError(f"no recipe {recipe.stem!r} in {recipe.parent}; there are {names}")
    folder = str(recipe.parent)
    hydra_init(recipe.stem)
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(), initialize_config_dir(folder, version_base="1.1"):
            warnings.simplefilter("ignore")  # of fairseq's schema, which has the recipe's name
            try:
                return compose(recipe.stem, list(overrides))
            except HydraException:
                if misspelled := misspelled_keys(compose(recipe.stem), overrides):
                    raise PlanError(f"{recipe.stem}: {'; '.join(misspelled)}") from None
                raise
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())[:400]
        raise PlanError(f"{recipe.stem}: {reason}") from None
    finally:
        GlobalHydra.instance().clear()


def with_plus(recipe: Path, overrides: Sequence[str]) -> list[str]:
    """Put hydra's ``+`` before keys that the YAML of a recipe does not name but a training has.

    Raises:
        PlanError: a choice among ``overrides``, such as ``run=cpu``, does not fit.
    """
    kinds = [text for text in overrides if "." not in _key(text) or _key(text).endswith("._name")]
    if len(kinds) == len(overrides):
        return kinds
    config = read_recipe(recipe, kinds)
    added = _settings(config) - set(_named(config))
    return [f"+{text}" if _key(text) in added else text for text in overrides]


def misspelled_keys(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Name each overridden key that a configuration does not have, with the nearest that it has.

    Keys that are added (``+``) or removed (``~``) and config groups (``run=cpu``) are skipped.
    """
    known = _settings(config)
    return [
        f"no key {key}{did_you_mean(key, known)}; +{key}=VALUE would add it"
        for key in map(_key, overrides)
        if "." in key and key[0] not in "+~" and key not in known
    ]


def _key(override: str) -> str:
    return override.partition("=")[0]


def _settings(config: DictConfig) -> set[str]:
    """All keys of a composed configuration, whether its YAML names them or they have a default."""
    whole = copy.deepcopy(config)
    add_defaults(whole)
    objectives = OmegaConf.select(whole, "model.objectives") or {}
    fields = {
        f"model.objectives.{name}.{field.name}"
        for name in objectives
        if name in OBJECTIVES
        for field in dataclasses.fields(OBJECTIVES[name].config_type)
    }
    return {*_named(whole), *fields}


def _named(config: DictConfig) -> Iterator[str]:
    """The dotted paths of the keys that a configuration names."""
    return _paths(OmegaConf.to_container(config, resolve=False), "")


def _paths(node: object, prefix: str) -> Iterator[str]:
    """The dotted paths of all keys below a node."""
    for key, child in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _paths(child, f"{prefix}{key}.")
