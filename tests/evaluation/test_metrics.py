"""Scores equal scikit-learn's on the same predictions; the interval covers what it should."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics

from mgf_fairseq.evaluation import metrics as scores

CLASSES = ["a", "b", "c", "d", "never"]


@pytest.fixture
def predictions():
    """Truth, prediction and utterance of 500 items; class 3 is rare, 4 occurs nowhere."""
    rng = np.random.default_rng(5)
    truth = rng.choice(4, 500, p=[0.5, 0.3, 0.19, 0.01])
    guess = np.where(rng.random(500) < 0.6, truth, rng.integers(0, 4, 500))
    return truth, guess, np.sort(rng.integers(0, 40, 500))


def test_metrics_equal_those_of_scikit_learn(predictions):
    truth, guess, utterance = predictions
    counted = scores.tally(truth, guess, utterance, 5)
    # 1e-9: the same sums of whole numbers in another order.
    expected = 100 * metrics.accuracy_score(truth, guess)
    assert scores.score(scores.accuracy, counted) == pytest.approx(expected, abs=1e-9)
    expected = 100 * metrics.balanced_accuracy_score(truth, guess)
    assert scores.score(scores.uar, counted) == pytest.approx(expected, abs=1e-9)
    kept = truth != 0
    expected = 100 * metrics.accuracy_score(truth[kept], guess[kept])
    without = scores.accuracy_without([0])
    assert scores.score(without, counted) == pytest.approx(expected, abs=1e-9)


def test_confusion_and_class_scores_equal_those_of_scikit_learn(predictions):
    truth, guess, _ = predictions
    confusion = scores.confusion_matrix(truth, guess, 5)
    assert np.array_equal(confusion, metrics.confusion_matrix(truth, guess, labels=range(5)))
    found = scores.class_scores(confusion, CLASSES)
    expected = metrics.precision_recall_fscore_support(
        truth, guess, labels=range(5), zero_division=0
    )
    for k, name in enumerate(CLASSES):
        assert found[k].label == name and found[k].count == expected[3][k]
        values = [found[k].precision, found[k].recall, found[k].f1]
        assert values == pytest.approx([100 * column[k] for column in expected[:3]], abs=1e-9)
    # Two seeds' predictions of the same items are summed up, and an item counts once.
    assert scores.class_scores(2 * confusion, CLASSES, runs=2) == found


def test_predictions_of_another_number_than_labels_are_refused():
    with pytest.raises(ValueError, match="3 labels cannot be compared with 2"):
        scores.confusion_matrix(np.zeros(3, int), np.zeros(2, int), 2)


def test_the_interval_resamples_whole_utterances(predictions):
    truth, guess, utterance = predictions
    low, high = scores.metric_interval(scores.accuracy, [scores.tally(truth, guess, utterance, 5)])
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(2000):
        drawn = rng.integers(0, 40, 40)
        index = np.concatenate([np.flatnonzero(utterance == u) for u in drawn])
        rates.append(100 * metrics.accuracy_score(truth[index], guess[index]))
    # Percentiles of 1000 and 2000 resamples: their standard errors are about 0.2 points.
    assert [low, high] == pytest.approx(np.percentile(rates, [2.5, 97.5]), abs=1.0)
    assert low < scores.score(scores.accuracy, scores.tally(truth, guess, utterance, 5)) < high


def test_the_interval_holds_95_percent_of_the_resamples():
    right = np.arange(400) % 2
    counted = scores.tally(np.zeros(400, int), 1 - right, np.arange(400), 2)
    found = scores.metric_interval(scores.accuracy, [counted], resamples=20_000)
    exact = [100 * binom.ppf(p, 400, 0.5) / 400 for p in (0.025, 0.975)]
    # Steps of 0.25; an interval of 90 percent lies 0.75 within it.
    assert found == pytest.approx(exact, abs=0.3)


def test_dependent_items_widen_the_interval():
    truth = np.zeros(1000, int)
    guess = np.repeat(np.arange(20) % 2, 50)  # right or wrong by the whole utterance
    whole = scores.tally(truth, guess, np.repeat(np.arange(20), 50), 2)
    single = scores.tally(truth, guess, np.arange(1000), 2)
    wide, narrow = (
        np.subtract(*scores.metric_interval(scores.accuracy, [t])[::-1]) for t in (whole, single)
    )
    assert wide > 5 * narrow  # sqrt(50) = 7 in expectation


def test_utterances_without_items_do_not_change_the_interval(predictions):
    truth, guess, utterance = predictions
    some = scores.tally(truth, guess, utterance, 5)
    spread = scores.tally(truth, guess, utterance * 3 + 2, 5)
    intervals = [scores.metric_interval(scores.uar, [t]) for t in (some, spread)]
    assert intervals[0] == intervals[1]
