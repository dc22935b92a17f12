"""What the criterion adds up: objectives, or the parts of them that have a share each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..types import ObjectiveOutput, Sum


@dataclass(frozen=True)
class Term:
    """What the criterion sums: an objective, or a part of one that has a share."""

    objective: str
    loss_sum: Tensor  # ()
    count: Tensor  # ()
    shown: float  # its factor in the logged loss


def parts_of(name: str, output: ObjectiveOutput, names: Sequence[str]) -> Mapping[str, Sum]:
    """Give (loss_sum, count) of each part of an objective.

    Raises:
        ValueError: they are not those that the objective promised (``Objective.part_names``).
    """
    parts = output.parts or {name: (output.loss_sum, output.count)}
    if set(parts) != set(names):
        raise ValueError(
            f"objective {name} has the part_names {sorted(names)}, but its output the parts "
            f"{sorted(parts)}"
        )
    return parts
