"""The configuration of an objective: parsed from a dictionary, with types and names checked.

`base.py` calls it when objectives are built; a misspelled key is an error that names the nearest.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..utils.suggestions import did_you_mean

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


def parse_config(
    config_type: type[ObjectiveConfig], values: Mapping[str, Any], where: str
) -> ObjectiveConfig:
    """Read a mapping into a typed configuration; a wrong key or type raises ValueError."""
    hints = typing.get_type_hints(config_type)
    known = {f.name for f in fields(config_type)}
    converted: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ValueError(unknown_key("key", key, known, where))
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


def unknown_key(kind: str, name: str, known: typing.Iterable[str], where: str) -> str:
    """Say that a name is unknown, which is nearest and which there are."""
    hint = did_you_mean(name, known)
    return f"{where} has an unknown {kind} {name!r}{hint}; there are: {', '.join(sorted(known))}"
