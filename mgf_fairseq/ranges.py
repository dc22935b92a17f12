"""Ranges of settings: a value outside of its range is refused by the name of its field.

Used where a configuration becomes a thing (encoder, objectives, task), after its types are right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

POSITIVE = 1, math.inf  # a count of which there has to be one
SHARE = 0, 1

Ranges = Mapping[str, tuple[float, float]]


def require_ranges(config: Any, ranges: Ranges, where: str = "") -> None:
    """Look at fields that hold numbers.

    Args:
        config: what has the fields.
        ranges: name of the field -> the least and the greatest value; either may be infinite.
        where: what stands before the field's name in a command, such as ``task.``.

    Raises:
        ValueError: a value is outside, NaN or infinite; it and its field are named.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if math.isfinite(value) and low <= value <= high:
            continue
        wanted = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more, and finite"
        raise ValueError(f"{where}{name}={value!r} must be {wanted}")
