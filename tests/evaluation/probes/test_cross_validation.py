"""Cross-validated probes: no probe sees what it is tested on, and a planted label is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from mgf_fairseq.evaluation.probes.cross_validation import (
    FoldConfig,
    FoldError,
    FoldProbes,
    cross_validate,
    inner_groups,
)

CPU = torch.device("cpu")
SHORT = FoldConfig(max_steps=30, inner_folds=3)


@pytest.fixture
def corpus():
    """5 folds of 24 items, 3 classes; layer 1 of 2 knows them, at another level in each fold."""
    rng = np.random.default_rng(4)
    folds, labels = np.repeat(np.arange(5), 24), np.tile(np.arange(3), 40)
    vectors = rng.standard_normal((2, 120, 6)).astype(np.float32)
    vectors[1, np.arange(120), labels] += 8
    vectors[1] += 0.5 * folds[:, None]
    return vectors, labels, folds


def test_a_planted_label_is_found_in_folds_that_were_held_out(corpus):
    vectors, labels, folds = corpus
    found = cross_validate(vectors[1:], labels, folds, 3, [1, 2], SHORT, CPU)
    assert np.array_equal(found.test, np.stack([labels, labels]))
    assert found.valid.shape == (2, 5, 120)
    assert np.array_equal(found.valid[0] == -1, np.arange(5)[:, None] == folds)


def test_the_weighted_sum_leans_on_the_layer_that_knows(corpus):
    vectors, labels, folds = corpus
    found = cross_validate(vectors, labels, folds, 3, [1], SHORT, CPU)
    assert found.layer_weights.argmax() == 1 and found.layer_weights.sum() == pytest.approx(1)
    assert (found.test == labels).mean() > 0.95


def test_a_shuffled_label_is_not_learned(corpus):
    vectors, labels, folds = corpus
    shuffled = np.random.default_rng(1).permutation(labels)
    found = cross_validate(vectors[1:], shuffled, folds, 3, [1], SHORT, CPU)
    # One guess in three right: more hits than this once in 1e6 shuffles.
    assert (found.test == shuffled).sum() <= binom.isf(1e-6, 120, 1 / 3)


def test_labels_of_a_fold_have_no_say_in_its_predictions_or_its_choices(corpus):
    vectors, labels, folds = corpus
    changed = np.where(folds == 2, (labels + 1) % 3, labels)
    first, second = (
        cross_validate(vectors, mine, folds, 3, [1], SHORT, CPU) for mine in (labels, changed)
    )
    assert np.array_equal(first.test[:, folds == 2], second.test[:, folds == 2])
    assert np.array_equal(first.valid[:, 2], second.valid[:, 2])
    assert first.steps[0, 2] == second.steps[0, 2]
    assert not np.array_equal(first.valid[:, 1], second.valid[:, 1])  # others learn from it


def test_features_of_a_fold_do_not_enter_the_statistics_of_its_probes(corpus):
    vectors, labels, folds = corpus
    loud = vectors.copy()
    loud[:, folds == 2] *= 50
    first, second = (cross_validate(x, labels, folds, 3, [1], SHORT, CPU) for x in (vectors, loud))
    assert np.array_equal(first.valid[:, 2], second.valid[:, 2])


def test_each_probe_standardizes_by_the_items_that_it_learns_from(corpus):
    vectors, _, folds = corpus
    learns = torch.from_numpy(folds != np.arange(5)[:, None]).float()  # (J, N)
    probes = FoldProbes(torch.from_numpy(vectors), learns, 3, seed=1)
    for job in range(5):
        seen = vectors[:, folds != job].astype(np.float64)
        # fp32: means and mean squares of 96 numbers near 10.
        assert np.allclose(probes.mean[:, job].numpy(), seen.mean(axis=1), rtol=1e-4, atol=1e-4)
        assert np.allclose(1 / probes.scale[:, job].numpy(), seen.std(axis=1), rtol=1e-3)


def test_inner_groups_hold_whole_folds_and_never_the_outer_one(corpus):
    _, _, folds = corpus
    for outer in range(5):
        group = inner_groups(folds, outer, 3)
        assert np.array_equal(group == 3, folds == outer)
        assert all(len(set(group[folds == fold])) == 1 for fold in range(5))
        assert set(group.tolist()) == {0, 1, 2, 3}


def test_probes_are_taken_at_the_step_at_which_their_inner_folds_lose_least(corpus):
    vectors, labels, folds = corpus
    noisy = np.where(np.random.default_rng(2).random(120) < 0.5, labels, (labels + 1) % 3)
    # Without a penalty they learn by heart, to the harm of what is held out.
    config = FoldConfig(penalty=0.0, max_steps=60, check_every=1, patience=60, inner_folds=3)
    long = cross_validate(vectors, noisy, folds, 3, [1], config, CPU)
    assert 1 <= long.steps.max() < 60
    for fold in range(5):
        at_best = replace(config, max_steps=int(long.steps[0, fold]))
        short = cross_validate(vectors, noisy, folds, 3, [1], at_best, CPU)
        assert np.array_equal(short.test[:, folds == fold], long.test[:, folds == fold])
        assert np.array_equal(short.valid[:, fold], long.valid[:, fold])


def test_two_folds_leave_none_to_choose_on():
    with pytest.raises(ValueError, match="at least 3"):
        inner_groups(np.array([0, 1, 1]), 0, 5)


def test_a_hidden_layer_learns_what_no_linear_can():
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (1, 150, 2)).astype(np.float32)
    labels, folds = (x[0, :, 0] * x[0, :, 1] > 0).astype(int), np.arange(150) % 3
    config = FoldConfig(penalty=0.1, inner_folds=2)
    linear = cross_validate(x, labels, folds, 2, [1], config, CPU)
    hidden = FoldConfig(hidden=16, penalty=0.1, inner_folds=2)
    deep = cross_validate(x, labels, folds, 2, [1], hidden, CPU)
    assert (linear.test == labels).mean() < 0.65 < 0.9 < (deep.test == labels).mean()


def test_a_seed_deals_the_inner_groups_anew(corpus):
    _, _, folds = corpus
    deals = {tuple(inner_groups(folds, 0, 2, seed).tolist()) for seed in range(6)}
    assert len(deals) > 1
    assert np.array_equal(inner_groups(folds, 0, 2, 3), inner_groups(folds, 0, 2, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named_with_the_fold_instead_of_a_defect(corpus, bad):
    vectors, labels, folds = corpus
    vectors[1, 30, 2] = bad  # an utterance of fold 1, which fold 0 is the first to learn from
    with pytest.raises(FoldError, match="features of 1 of 120 utterances are not finite") as caught:
        cross_validate(vectors[1:], labels, folds, 3, [1], SHORT, CPU)
    assert caught.value.fold == 0
