"""Minibatched probes: they learn what is there, nothing else, and stay what they are called."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from mgf_fairseq.evaluation.probes.batched import BatchedProbes
from mgf_fairseq.evaluation.probes.trainer import (
    ProbeConfig,
    fit_standardizer,
    mean_loss,
    predict,
    train_probes,
)

CPU = torch.device("cpu")
QUICK = ProbeConfig(learning_rate=2e-2, batch_size=64, max_epochs=6, epoch_items=1000)


@dataclass
class Items:
    """Items in memory."""

    vectors: np.ndarray
    labels: np.ndarray

    @property
    def shape(self):
        return self.vectors.shape[0], self.vectors.shape[2]

    def gather(self, index):
        return self.vectors[:, index]


def planted(count, seed, layer=1, layers=3, classes=4, width=8):
    """Class k lifts dimension k of one layer; the other layers are noise of the same size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    vectors = rng.standard_normal((layers, count, width)).astype(np.float16)
    vectors[layer, np.arange(count), labels] += 12
    return Items(vectors, labels)


def test_a_planted_label_is_learned_to_100_percent_in_its_layer_alone():
    trained = train_probes(planted(2000, 1), planted(300, 2), 4, [1, 2], QUICK, CPU)
    test = planted(500, 3)
    right = (predict(trained, test) == test.labels).mean(axis=2)  # (S, R)
    assert np.all(right[:, 1] == 1.0)
    # A guess is right with probability 1/4: above 0.35 once in 3e6 tables of four cells.
    assert np.all(right[:, [0, 2]] < 0.35)


def test_the_weighted_sum_finds_the_planted_layer():
    trained = train_probes(planted(2000, 1), planted(300, 2), 4, [1, 2], QUICK, CPU)
    test = planted(500, 3)
    assert np.all((predict(trained, test)[:, -1] == test.labels).mean(axis=1) > 0.99)
    weights = trained.probes.layer_weights()
    assert torch.allclose(weights.sum(dim=1), torch.ones(2))
    assert torch.all(weights.argmax(dim=1) == 1) and torch.all(weights[:, 1] > 0.45)


def test_a_shuffled_label_is_not_learned():
    train, valid, test = (planted(1000, seed) for seed in (1, 2, 3))
    rng = np.random.default_rng(9)
    for items in (train, valid, test):
        items.labels = rng.permutation(items.labels)
    trained = train_probes(train, valid, 4, [1], QUICK, CPU)
    hits = (predict(trained, test) == test.labels).sum(axis=2)
    # Four probes, one guess in four right: more hits than this once in 1e6 seeds.
    assert hits.max() <= binom.isf(1e-6 / 4, 1000, 0.25)


def test_a_probe_is_exactly_one_linear():
    probes = BatchedProbes([1, 2], 3, 8, 4)
    x = torch.randn(5, 8)
    for representation in range(4):  # the sum of equal layers is the layer
        single = probes.single(1, representation)
        assert type(single) is nn.Linear
        assert single.weight.shape == (4, 8) and single.bias.shape == (4,)
        # 1e-6: one product in another order.
        found = probes(x.expand(2, 3, 5, 8))[1, representation]
        assert torch.allclose(found, single(x), atol=1e-6)


def test_a_hidden_layer_makes_it_two_and_only_where_asked_for():
    probes = BatchedProbes([1], 1, 8, 4, hidden=6)
    linears = [m for m in probes.single(0, 0).modules() if isinstance(m, nn.Linear)]
    assert [tuple(m.weight.shape) for m in linears] == [(6, 8), (4, 6)]
    x = torch.randn(5, 8)
    assert torch.allclose(probes(x[None, None])[0, 0], probes.single(0, 0)(x), atol=1e-6)


def test_probes_that_share_a_bank_learn_as_if_alone():
    train, valid = planted(600, 1), planted(200, 2)
    together = train_probes(train, valid, 4, [1, 2], QUICK, CPU)
    alone = train_probes(train, valid, 4, [2], QUICK, CPU)
    for k in range(4):
        both = together.probes.single(1, k).weight, alone.probes.single(0, k).weight
        # 1e-4: batched products of another size round differently over a few hundred updates.
        assert torch.allclose(*both, atol=1e-4)


def test_seeds_begin_differently_and_repeat():
    first, again = (BatchedProbes([1, 2], 2, 8, 4) for _ in range(2))
    for representation in range(3):
        begun = [probes.single(0, representation).weight for probes in (first, again)]
        assert torch.equal(*begun)
        assert not torch.equal(begun[0], first.single(1, representation).weight)


def test_seeds_see_the_same_items_in_orders_of_their_own(monkeypatch):
    seen = []
    forward = BatchedProbes.forward

    def recorded(probes, x):
        if torch.is_grad_enabled():
            seen.append(x[:, 0, :, 0].clone())  # (S, L, B, D) -> (S, B)
        return forward(probes, x)

    monkeypatch.setattr(BatchedProbes, "forward", recorded)
    config = ProbeConfig(batch_size=50, epoch_items=300, max_epochs=1)
    train_probes(planted(300, 1), planted(50, 2), 4, [1, 2], config, CPU)
    first, second = torch.cat(seen, dim=1)
    assert len(seen) == 6 and len(first) == 300
    assert torch.equal(first.sort().values, second.sort().values)
    # Two shuffles of 300 agree in one place on average, in more than 10 once in 1e8.
    assert (first == second).sum() <= 10


def test_the_learning_rate_falls_linearly_to_a_twentieth_at_the_last_epoch(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def recorded(optimizer, *arguments):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    config = ProbeConfig(batch_size=100, epoch_items=100, max_epochs=5, patience=5)
    train_probes(planted(100, 1), planted(50, 2), 4, [1], config, CPU)
    assert rates == pytest.approx(np.linspace(1e-2, 5e-4, 5).tolist())


def test_each_probe_is_taken_at_its_best_epoch_on_valid_and_training_stops(monkeypatch):
    rng = np.random.default_rng(1)
    train, valid = planted(60, 1), planted(200, 2)
    train.labels = rng.permutation(train.labels)  # to be learned by heart, to valid's harm
    losses = []

    def recorded(*arguments):
        losses.append(mean_loss(*arguments))
        return losses[-1]

    monkeypatch.setattr("mgf_fairseq.evaluation.probes.trainer.mean_loss", recorded)
    config = ProbeConfig(0, 0.1, batch_size=10, epoch_items=60, max_epochs=40, patience=3)
    trained = train_probes(train, valid, 4, [1], config, CPU)
    lowest = torch.stack(losses).min(dim=0)
    assert (lowest.indices + 1).tolist() == trained.best_epochs
    assert torch.equal(mean_loss(trained.probes, trained.standardizer, valid), lowest.values)
    assert len(losses) == max(trained.best_epochs[0]) + 3 < 40


def test_standardization_is_by_train_alone_and_leaves_constants():
    train = planted(500, 1)
    train.vectors[0, :, 2] = 7
    standard = fit_standardizer(train)
    x = standard(torch.from_numpy(train.gather(np.arange(500))).float())
    assert torch.allclose(x.mean(dim=1), torch.zeros(3, 8), atol=1e-5)  # fp32 sums of 500
    deviation = x.std(dim=1, correction=0)
    assert deviation[0, 2] == 0 and torch.allclose(deviation[1:], torch.ones(2, 8), atol=1e-4)


def test_a_wide_offset_does_not_spoil_the_deviation():
    train = planted(500, 1)
    train.vectors = train.vectors.astype(np.float32) + 3000
    deviation = fit_standardizer(train).scale.squeeze().reciprocal()
    expected = train.vectors.astype(np.float64).std(axis=1)
    assert np.allclose(deviation.numpy(), expected, rtol=1e-3)  # fp32 values near 3000


@pytest.mark.parametrize(
    "bad", [{"batch_size": 0}, {"hidden": -1}, {"learning_rate": 0.0}, {"patience": 0}]
)
def test_a_bad_setting_is_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ProbeConfig(**bad)
