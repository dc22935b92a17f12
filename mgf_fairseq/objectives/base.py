"""What an objective is, and the registry that builds all of them.

An objective turns an EncoderOutput and a Batch into an ObjectiveOutput; it knows neither the model,
nor another objective, nor its own weight, nor a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from .config import ObjectiveConfig, parse_config, unknown_key
from .levels import resolve_level

ConfigT = TypeVar("ConfigT", bound=ObjectiveConfig, covariant=True)


class Objective(nn.Module, Generic[ConfigT]):
    """One training objective: head, target and loss.

    A subclass sets ``name`` and ``config_type``, takes ``(config, shape)`` and implements
    :meth:`forward`, or all of :class:`InSteps` as in version 0.1.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[ObjectiveConfig]]
    min_views: ClassVar[int] = 1  # rows per utterance without which nothing counts

    def __init__(self, config: ConfigT, shape: EncoderShape) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.level = resolve_level(config.level, shape)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Parts that get a share of the gradient each; an objective of several names them in
        ``ObjectiveOutput.parts`` and reads ``encoded.seen_by(part)`` for each."""
        return (self.name,)

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Compute the objective's sums and counts for one batch."""
        return _in_steps(self, encoded, batch)


@runtime_checkable
class InSteps(Protocol):
    """The form of an objective that was written for version 0.1."""

    def target(self, encoded: EncoderOutput, batch: Batch) -> object:
        """Make the target; called without gradient."""

    def predict(self, encoded: EncoderOutput, batch: Batch) -> object:
        """Make the prediction."""

    def compare(
        self, prediction: object, target: object, encoded: EncoderOutput, batch: Batch
    ) -> ObjectiveOutput:
        """Sum the loss and the metrics over what counts."""


def _in_steps(objective: object, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
    if not isinstance(objective, InSteps):
        raise NotImplementedError(f"{type(objective).__qualname__} does not implement forward")
    with torch.no_grad():
        target = objective.target(encoded, batch)
    return objective.compare(objective.predict(encoded, batch), target, encoded, batch)


AnyObjective = Objective[ObjectiveConfig]
ObjectiveClass = TypeVar("ObjectiveClass", bound=type[AnyObjective])
OBJECTIVES: dict[str, type[AnyObjective]] = {}
PACKAGE_OF_ITS_OWN = (
    "One in a package of its own needs that package: common.user_dir=PACKAGE in a training, "
    "--user-dir PACKAGE for mgf"
)


def register_objective(cls: ObjectiveClass) -> ObjectiveClass:
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
