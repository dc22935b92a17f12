"""Ranges of settings: a value outside of its range is refused by the name of its field.

Used where a configuration becomes a thing (encoder, objectives, task, criterion), after its types
are right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from .suggestions import did_you_mean

POSITIVE = 1, math.inf  # a count of which there has to be one
SHARE = 0, 1

Ranges = Mapping[str, tuple[float, float]]


def require_ranges(config: Any, ranges: Ranges, where: str = "") -> None:
    """Check fields that hold numbers.

    Args:
        config: what has the fields.
        ranges: name of the field -> the least and the greatest value; either may be infinite.
        where: what precedes the field's name in a command, such as ``task.``.

    Raises:
        ValueError: a value is outside, NaN or infinite; it and its field are named.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if math.isfinite(value) and low <= value <= high:
            continue
        wanted = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more, and finite"
        raise ValueError(f"{where}{name}={value!r} must be {wanted}")


def read_numbers(mapping: Any, where: str) -> dict[str, float]:
    """Read a mapping of names to numbers, finite and not negative; `where` is its key.

    Raises:
        ValueError: it is none; key and value are named.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where}={mapping!r} must map names to numbers")
    for name, value in mapping.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise ValueError(f"{where}.{name}={value!r} must be a number, finite and not negative")
    return {str(name): float(value) for name, value in mapping.items()}


def require_names(where: str, given: Collection[str], built: Collection[str]) -> None:
    """Raise ValueError unless numbers are given for just what is built; name the nearest."""
    if set(given) == set(built):
        return
    unknown = sorted(set(given) - set(built))
    hints = [f"; {name!r} is none of them{did_you_mean(name, built)}" for name in unknown]
    raise ValueError(
        f"{where} must name what is built: numbers are for {sorted(given)}, built are "
        f"{sorted(built)} (model.objectives){''.join(hints)}"
    )
