"""What an objective is, and the registry that builds all of them.

An objective turns an EncoderOutput and a Batch into an ObjectiveOutput; it knows neither the model,
nor another objective, nor its own weight, nor a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from .config import ObjectiveConfig, parse_config, unknown_key
from .levels import resolve_level


class Objective(nn.Module):
    """One training objective: head, target and loss.

    Subclasses set ``name`` and ``config_type``, take ``(config, shape)`` and implement
    :meth:`target`, :meth:`predict` and :meth:`compare`; callers use :meth:`forward` only.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[ObjectiveConfig]]
    min_views: ClassVar[int] = 1  # rows per utterance without which nothing counts

    def __init__(self, config: Any, shape: EncoderShape) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.level = resolve_level(config.level, shape)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Parts that get a share of the gradient each; an objective of several names them in
        ``ObjectiveOutput.parts`` and reads ``encoded.seen_by(part)`` for each."""
        return (self.name,)

    def target(self, encoded: EncoderOutput, batch: Batch) -> Any:
        """Make the target, without gradient."""
        raise NotImplementedError

    def predict(self, encoded: EncoderOutput, batch: Batch) -> Any:
        """Make the prediction from one level of the encoder."""
        raise NotImplementedError

    def compare(
        self, prediction: Any, target: Any, encoded: EncoderOutput, batch: Batch
    ) -> ObjectiveOutput:
        """Sum the loss and the metrics over what counts."""
        raise NotImplementedError

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Compute the objective's sums and counts for one batch."""
        with torch.no_grad():
            target = self.target(encoded, batch)
        return self.compare(self.predict(encoded, batch), target, encoded, batch)


OBJECTIVES: dict[str, type[Objective]] = {}
PACKAGE_OF_ITS_OWN = (
    "One in a package of its own needs that package: common.user_dir=PACKAGE in a training, "
    "--user-dir PACKAGE for mgf"
)


def register_objective(cls: type[Objective]) -> type[Objective]:
    """Make an objective available under its name in ``model.objectives``.

    Raises:
        ValueError: the name is taken by another class.
    """
    taken = OBJECTIVES.get(cls.name)
    if taken is not None and taken.__qualname__ != cls.__qualname__:
        raise ValueError(f"objective {cls.name!r} is registered already, by {taken.__qualname__}")
    OBJECTIVES[cls.name] = cls
    return cls


def build_objectives(
    mapping: Mapping[str, Mapping[str, Any] | None], shape: EncoderShape
) -> nn.ModuleDict:
    """Build the objectives that ``model.objectives`` names, in its order.

    Raises:
        ValueError: an objective or a key of its mapping is unknown (the nearest is named), or a
            value is refused by the objective's configuration.
    """
    built = nn.ModuleDict()
    if not isinstance(mapping, Mapping):
        raise ValueError(f"model.objectives={mapping!r} must map names to settings")
    for name, values in mapping.items():
        if not isinstance(values, Mapping | None):
            raise ValueError(f"model.objectives.{name}={values!r} must map keys to values")
        if name not in OBJECTIVES:
            reason = unknown_key("objective", name, OBJECTIVES, "model.objectives")
            raise ValueError(f"{reason}. {PACKAGE_OF_ITS_OWN}")
        cls = OBJECTIVES[name]
        config = parse_config(cls.config_type, values or {}, f"model.objectives.{name}")
        try:
            built[name] = cls(config, shape)
        except ValueError as error:
            raise ValueError(f"model.objectives.{name}: {error}") from error
    return built
