"""Load a pre-trained MGF model with its objectives, as training left it.

`example.py` takes one of them; features need the encoder alone (encoder.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..checkpoints.files import CheckpointError as CheckpointError
from ..checkpoints.files import interpreting
from ..checkpoints.reading import config_of, find_checkpoint, read_checkpoint, require_fit
from ..model import MgfModel


def load_pretrained(
    path: Path | str, objectives: Sequence[str] | None = None
) -> tuple[MgfModel, DictConfig]:
    """Build a pre-trained MGF with its objectives, in evaluation mode, and its configuration.

    Args:
        path: the checkpoint, or the folder of its run.
        objectives: only these of its objectives, where it has them; all if None.

    Raises:
        CheckpointError: the file is not an MGF pre-training checkpoint, or of another version.
    """
    path = find_checkpoint(path)
    state = read_checkpoint(path)
    with interpreting(path):
        return _pretrained(state, path, objectives)


def _pretrained(
    state: dict[str, Any], path: Path, objectives: Sequence[str] | None
) -> tuple[MgfModel, DictConfig]:
    config = config_of(state, path)
    name = OmegaConf.select(config, "model._name")
    if name != "mgf":
        raise CheckpointError(f"{path}: holds a model {name!r}, not a pre-trained 'mgf'")
    weights = state["model"]
    if objectives is not None:
        held = config.model.objectives or {}
        config.model.objectives = {key: held[key] for key in held if key in objectives}
        kept = tuple(f"objectives.{key}." for key in objectives)
        weights = {
            key: weight
            for key, weight in weights.items()
            if not key.startswith("objectives.") or key.startswith(kept)
        }
    require_fit(config.model, weights, path)
    model = MgfModel(config.model)
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: saved by another version of the model: {reason}") from None
    return model.eval(), config
