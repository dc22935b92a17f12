"""The loss of a mask, and the one mask that needs no features."""

import numpy as np
import pytest
import torch

from mgf_fairseq.evaluation.probes.masks import (
    MaskExamples,
    fixed_mask,
    learned_masks,
    mask_losses,
)
from mgf_fairseq.evaluation.probes.trainer import Learned, ProbeConfig, fit_standardizer, mean_loss
from mgf_fairseq.evaluation.probes.trainer import train_probes as train

RNG = np.random.default_rng(1)


def examples(count):
    """Two bins whose masks a feature decides: bin 0 where it is high, bin 1 where it is low."""
    side = RNG.choice([-1.0, 1.0], count)
    vectors = RNG.standard_normal((2, count, 3)).astype(np.float32)
    vectors[1, :, 0] = 4 * side
    mixture = RNG.uniform(1, 2, (count, 2))
    share = np.stack([side > 0, side < 0], axis=1)
    labels = np.stack([mixture, mixture * share], axis=1).astype(np.float32)
    return MaskExamples(vectors, labels)


def test_the_loss_is_the_squared_error_of_masked_magnitudes():
    outputs = torch.randn(2, 3, 4, 5)
    labels = torch.rand(2, 4, 2, 5)
    found = mask_losses(outputs, labels)
    for s, r, b in np.ndindex(2, 3, 4):
        mask = 1 / (1 + np.exp(-outputs[s, r, b].double().numpy()))
        mixture, wanted = labels[s, b].double().numpy()
        assert float(found[s, r, b]) == pytest.approx(((mask * mixture - wanted) ** 2).sum(), 1e-5)


def test_no_other_fixed_mask_has_less_loss():
    made = examples(200)
    best = fixed_mask(made)

    def loss(mask):
        return float(((mask * made.labels[:, 0] - made.labels[:, 1]) ** 2).sum())

    assert all(loss(best) < loss(best + step) for step in ([0.01, 0], [-0.01, 0], [0, 0.01]))


def test_probes_learn_the_mask_that_a_layer_shows_however_few_outputs_are_held_at_once():
    data, held_out = examples(600), examples(200)
    config = ProbeConfig(batch_size=32, epoch_items=3000, max_epochs=8)
    learned = learned_masks(1, 3, 2)
    trained = train(data, held_out, 2, [1], config, torch.device("cpu"), learned=learned)
    with torch.no_grad():
        outputs = trained.probes(trained.standardizer(torch.from_numpy(held_out.vectors))[None])
    errors = mask_losses(outputs, torch.from_numpy(held_out.labels)[None]).mean(dim=2)[0]
    assert float(errors[1]) < 0.1 and float(errors[2]) < 0.3  # the layer, and the sum
    assert float(errors[0]) > 1  # a layer of noise: half of the energy of two bins stays wrong
    few = Learned(mask_losses, 7)
    means = [
        mean_loss(trained.probes, fit_standardizer(data), held_out, None, how)
        for how in (learned, few)
    ]
    torch.testing.assert_close(*means)
