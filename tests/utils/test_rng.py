"""Counter-based random numbers: uniform, independent, reproducible."""

import pytest
import torch

from mgf_fairseq.utils import rng


def test_numbers_depend_on_their_key_alone() -> None:
    keys = torch.tensor([5, 9, -3])
    assert torch.equal(rng.uniform(keys, 4)[1], rng.uniform(torch.tensor(9), 4))


def test_numbers_are_uniform_and_below_one() -> None:
    values = rng.uniform(torch.arange(1000), 100)
    assert values.min() >= 0
    assert values.max() < 1
    # 1e5 draws: standard error of the mean 0.0009; five of them.
    assert abs(values.mean() - 0.5) < 0.0046
    counts = torch.histc(values, 10, 0, 1)
    # Each bin holds 1e4 +- 95; six deviations.
    assert (counts - 1e4).abs().max() < 570


def test_neighboring_keys_and_places_are_not_correlated() -> None:
    values = rng.uniform(torch.arange(1000), 100)
    for shifted in (values[1:, :] - 0.5, values[:, 1:] - 0.5):
        plain = values[: len(shifted), : shifted.shape[1]] - 0.5
        correlation = (plain * shifted).mean() * 12
        assert abs(correlation) < 0.02  # standard error 0.0032


def test_combined_keys_differ_from_their_parts() -> None:
    keys = torch.arange(100)
    combined = torch.stack([rng.combine(keys, salt) for salt in range(10)])
    assert len(combined.unique()) == 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_are_equal_exactly_where_all_components_are(dtype: torch.dtype) -> None:
    few = torch.tensor([-1.0, -0.0, 0.0, 1.0], dtype=dtype)
    vectors = few[torch.randint(4, (400, 3))]
    keys = rng.vector_keys(vectors)
    same = (vectors[:, None] == vectors).all(-1)
    assert torch.equal(keys[:, None] == keys, same)
    assert not same.all()


def test_a_generator_has_its_own_numbers_for_each_seed_item_and_time() -> None:
    asked = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (1, 2, 3, 0)]
    drawn = [tuple(rng.generator(*numbers).random(4)) for numbers in asked]
    assert len(set(drawn)) == len(asked)
    assert drawn[0] == tuple(rng.generator(1, 2, 0, 3).random(4))


def test_masks_and_crops_of_an_earlier_version_are_drawn_again() -> None:
    masks = rng.generator(1, 2, 3, 0)  # seed, row, update, axis
    assert list(masks.random(2)) == [0.7189388877276962, 0.41126597421331446]
    crops = rng.generator(7, 5, 2, 9)  # seed, line, repeat, epoch
    assert list(crops.random(2)) == [0.11491287467641309, 0.20224199207417626]
