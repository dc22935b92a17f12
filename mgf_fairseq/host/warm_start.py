"""Begin a pre-training with the weights of another encoder (``model.init_from``).

checkpointing.py calls this when there is no checkpoint to resume from; a checkpoint that is there
holds the weights already, and fine-tuning never reads the key.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..checkpoints.initial import Initial, read_initial

logger = logging.getLogger(__name__)
_SHOWN = 3  # names of parameters in a line of the log


def initial_path(trainer: Any) -> str | None:
    """The value of ``model.init_from``, where the model has that key."""
    config = trainer.cfg.model
    return config.init_from if config is not None and "init_from" in config else None


@torch.no_grad()
def start_from(path: str, trainer: Any) -> None:
    """Copy the weights of another encoder into the trainer's model; say what did not match.

    Raises:
        CheckpointError: it cannot be read, or is of another shape.
    """
    model = trainer.get_model()
    state = model.state_dict()
    initial = read_initial(path, model.cfg, state)
    for name, weight in initial.weights.items():
        state[name].copy_(weight)
    trainer.reinitialize()  # optimizers that keep a copy of the weights
    _report(path, initial, trainer.task.cfg)


def _report(path: str, initial: Initial, task: Any) -> None:
    count = sum(weight.numel() for weight in initial.weights.values())
    logger.info(
        "model.init_from=%s: %d parameters of %d tensors are its encoder's; objectives begin fresh",
        path,
        count,
        len(initial.weights),
    )
    if initial.fresh:
        logger.warning("not in it, so they begin fresh: %s", _some(initial.fresh))
    if initial.unused:
        logger.warning("not in this model, so they are not used: %s", _some(initial.unused))
    source = initial.source
    for key, there, here in (
        ("sample_rate", source.sample_rate, task.sample_rate),
        ("normalize", source.normalize, task.normalize),
    ):
        if there != here:
            logger.warning(
                "it was trained with task.%s=%s, this training has %s: the first updates have to "
                "undo that",
                key,
                there,
                here,
            )


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
