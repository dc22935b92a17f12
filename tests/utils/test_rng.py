"""Counter-based random numbers: uniform, independent, reproducible."""

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


def test_neighbouring_keys_and_places_are_not_correlated() -> None:
    values = rng.uniform(torch.arange(1000), 100)
    for shifted in (values[1:, :] - 0.5, values[:, 1:] - 0.5):
        plain = values[: len(shifted), : shifted.shape[1]] - 0.5
        correlation = (plain * shifted).mean() * 12
        assert abs(correlation) < 0.02  # standard error 0.0032


def test_combined_keys_differ_from_their_parts() -> None:
    keys = torch.arange(100)
    combined = torch.stack([rng.combine(keys, salt) for salt in range(10)])
    assert len(combined.unique()) == 1000
