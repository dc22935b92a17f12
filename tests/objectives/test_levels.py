"""Levels of the encoder by name, layer or share."""

import dataclasses

import pytest
from encoded import SHAPE

from mgf_fairseq.objectives.levels import resolve_level


@pytest.mark.parametrize(
    ("level", "expected"),
    [("latents", "latents"), ("context", "context"), ("0", "0"), ("50%", "1"), ("100%", "2")],
)
def test_levels_are_names_layers_or_shares_of_the_depth(level: str, expected: str) -> None:
    assert resolve_level(level, SHAPE) == expected


@pytest.mark.parametrize(("layers", "half"), [(2, "1"), (3, "2"), (5, "2"), (7, "4"), (12, "6")])
def test_half_of_an_odd_depth_is_the_even_one_of_the_two_layers_beside_it(
    layers: int, half: str
) -> None:
    assert resolve_level("50%", dataclasses.replace(SHAPE, num_layers=layers)) == half
