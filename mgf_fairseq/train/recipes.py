"""Find the YAML recipes of pre-training and fine-tuning, and read what they amount to.

Below plans.py; fairseq-hydra-train reads the same files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq.dataclass.initialize import hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .. import plugin as plugin  # recipes name our task, model and criterion
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


def misspelled_keys(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Name each overridden key that a configuration does not have, with the nearest that it has.

    Keys that are added (``+``) or removed (``~``) and config groups (``run=cpu``) are skipped.
    """
    known = list(_paths(OmegaConf.to_container(config, resolve=False), ""))
    keys = [override.partition("=")[0] for override in overrides]
    return [
        f"no key {key}{did_you_mean(key, known)}; +{key}=VALUE would add it"
        for key in keys
        if "." in key and key[0] not in "+~" and key not in known
    ]


def _paths(node: object, prefix: str) -> Iterator[str]:
    """The dotted paths of all keys below a node."""
    for key, child in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _paths(child, f"{prefix}{key}.")
