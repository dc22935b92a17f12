"""What an objective is, how its configuration is read, and the registry that builds them.

An objective turns an EncoderOutput and a Batch into an ObjectiveOutput; it knows neither the
model, nor another objective, nor its own weight, nor a rank.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..suggestions import did_you_mean
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput

FRAMES = ("visible", "masked", "all")


@dataclass
class ObjectiveConfig:
    """Where an objective reads: every objective's configuration starts with these."""

    level: str = field(
        default="context",
        metadata={
            "help": "latents, context, a layer number (0: the Transformer's input) or a share of "
            "the depth such as 50%"
        },
    )
    frames: str = field(
        default="all", metadata={"help": "frames that count: visible, masked or all"}
    )

    def __post_init__(self) -> None:
        self.level = str(self.level)
        self.require("frames", FRAMES)

    def require(self, name: str, choices: tuple[str, ...]) -> None:
        """Raise ValueError unless the field ``name`` holds one of ``choices``."""
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{name}={value!r} is none of {', '.join(choices)}")

    def require_positive(self, *names: str) -> None:
        """Raise ValueError unless every field in ``names`` is finite and greater than zero."""
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be finite and greater than zero"
                )


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
            reason = _unknown("objective", name, OBJECTIVES, "model.objectives")
            raise ValueError(f"{reason}. {PACKAGE_OF_ITS_OWN}")
        cls = OBJECTIVES[name]
        config = parse_config(cls.config_type, values or {}, f"model.objectives.{name}")
        try:
            built[name] = cls(config, shape)
        except ValueError as error:
            raise ValueError(f"model.objectives.{name}: {error}") from error
    return built


def parse_config(
    config_type: type[ObjectiveConfig], values: Mapping[str, Any], where: str
) -> ObjectiveConfig:
    """Read a mapping into a typed configuration; a wrong key or type raises ValueError."""
    hints = typing.get_type_hints(config_type)
    known = {f.name for f in fields(config_type)}
    converted: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ValueError(_unknown("key", key, known, where))
        converted[key] = _convert(value, hints[key], f"{where}.{key}")
    try:
        return config_type(**converted)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Convert what YAML gave to the field's type, refusing what would lose something."""
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ValueError(f"{where}={value!r} must be a list")
        inner = typing.get_args(hint)[0]
        return tuple(_convert(item, inner, where) for item in value)
    if origin is str and isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is origin:
        return value
    raise ValueError(f"{where}={value!r} must be of type {getattr(origin, '__name__', origin)}")


def _unknown(kind: str, name: str, known: typing.Iterable[str], where: str) -> str:
    """Say that a name is unknown, which is nearest and which there are."""
    hint = did_you_mean(name, known)
    return f"{where} has an unknown {kind} {name!r}{hint}; there are: {', '.join(sorted(known))}"


def resolve_level(level: str, shape: EncoderShape, field: str = "level") -> str:
    """Turn a share of the depth, such as ``50%``, into a layer number; leave the rest as it is.

    Raises:
        ValueError: no such level.
    """
    if level in ("latents", "context"):
        return level
    share = level.removesuffix("%")
    if share.isdecimal():
        layer = int(share) if share == level else round(int(share) / 100 * shape.num_layers)
        if layer <= shape.num_layers:
            return str(layer)
    raise ValueError(
        f"{field}={level!r} is neither latents, context, a layer from 0 to {shape.num_layers}, "
        "nor a share of the depth such as 50%"
    )


def level_dim(level: str, shape: EncoderShape) -> int:
    """Width of a resolved level: C for latents, D above."""
    return shape.latent_dim if level == "latents" else shape.embed_dim


def read_level(encoded: EncoderOutput, level: str) -> Tensor:
    """Take a resolved level of the encoder: (B, T, C) for latents, (B, T, D) above."""
    if level == "latents":
        return encoded.latents
    return encoded.context if level == "context" else encoded.hidden_states[int(level)]


def select_frames(encoded: EncoderOutput, frames: str) -> Tensor:
    """Mark the frames that count: (B, T) bool, never padding."""
    valid = ~encoded.padding_mask
    if frames == "masked":
        return valid & encoded.mask_indices
    return valid & ~encoded.mask_indices if frames == "visible" else valid
