"""Accuracy, unweighted average recall, confusion, class scores and their bootstrap intervals.

Pure functions on class numbers, in percent as in inference/wer.py; the protocols count with them,
results.py keeps what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..utils.intervals import RESAMPLES, bootstrap_interval
from .results import ClassScore

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float64]


def confusion_matrix(
    truth: IntArray, predicted: IntArray, num_classes: int
) -> npt.NDArray[np.int64]:
    """Count pairs of classes (I,) and predictions (I,) of items: (C, C) of (truth, prediction).

    Raises:
        ValueError: the two differ in length.
    """
    if truth.shape != predicted.shape:
        raise ValueError(
            f"{len(truth)} labels cannot be compared with {len(predicted)} predictions"
        )
    pairs = truth.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Tally:
    """Items and hits of each class in each utterance: all that the metrics need."""

    hits: npt.NDArray[Any]  # (U, C); whole numbers, means over runs, or sums of values
    counts: npt.NDArray[np.int64]  # (U, C)


def tally(truth: IntArray, predicted: IntArray, utterance: IntArray, num_classes: int) -> Tally:
    """Count items, (I,) three times, per utterance (numbered from 0) and true class: (U, C)."""
    shape = (int(utterance.max()) + 1, num_classes)
    cells = utterance.astype(np.int64) * num_classes + truth
    right = cells[truth == predicted]
    size = shape[0] * shape[1]
    return Tally(
        np.bincount(right, minlength=size).reshape(shape),
        np.bincount(cells, minlength=size).reshape(shape),
    )


# A metric takes hits and counts per class, (..., C), and gives percent, (...).
Metric = Callable[[FloatArray, FloatArray], FloatArray]


def accuracy(hits: FloatArray, counts: FloatArray) -> FloatArray:
    """Percent of items that were found: (..., C) twice -> (...)."""
    return 100.0 * _quotient(hits.sum(-1), counts.sum(-1))


def uar(hits: FloatArray, counts: FloatArray) -> FloatArray:
    """Unweighted average recall in percent: (..., C) twice -> (...).

    The mean recall over the classes that occur (scikit-learn's balanced accuracy).
    """
    occurs = (counts > 0).sum(-1)
    return 100.0 * _quotient(_quotient(hits, counts).sum(-1), occurs.astype(np.float64))


def accuracy_without(ignored: Sequence[int]) -> Metric:
    """Return an accuracy that ignores items of some true classes."""

    def metric(hits: FloatArray, counts: FloatArray) -> FloatArray:
        kept = [k for k in range(hits.shape[-1]) if k not in set(ignored)]
        return accuracy(hits[..., kept], counts[..., kept])

    return metric


def mean_of(values: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean of values that are no hits, such as gains in dB: (..., C) twice -> (...)."""
    return _quotient(values.sum(-1), counts.sum(-1))


def _quotient(above: FloatArray, below: FloatArray) -> FloatArray:
    """Divide; 0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)


def score(metric: Metric, counted: Tally) -> float:
    """Return one metric over all utterances."""
    return float(metric(counted.hits.sum(0).astype(float), counted.counts.sum(0).astype(float)))


def sum_by(counted: Tally, group: IntArray) -> Tally:
    """Sum utterances up by the group (numbered from 0) that each belongs to: (U, C) -> (G, C)."""
    shape = (int(group.max()) + 1, counted.hits.shape[1])
    hits, counts = (np.zeros(shape, part.dtype) for part in (counted.hits, counted.counts))
    np.add.at(hits, group, counted.hits)
    np.add.at(counts, group, counted.counts)
    return Tally(hits, counts)


def metric_interval(
    metric: Metric, tallies: Sequence[Tally], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the metric's mean over several runs (seeds).

    The tallies' rows (utterances, or speakers after ``sum_by``) are drawn with replacement, the
    same ones for every run; those without an item are never drawn.
    """
    filled = np.flatnonzero(tallies[0].counts.sum(1))

    def mean(drawn: IntArray) -> FloatArray:
        return _resampled(metric, tallies, filled, drawn)

    return bootstrap_interval(mean, len(filled), resamples, seed)


def paired_interval(
    metric: Metric,
    ones: Sequence[Tally],
    others: Sequence[Tally],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the difference of two means over runs.

    Row k of every tally is the same utterance (or speaker), so both are drawn together and what
    makes it easy or hard for both drops out.
    """
    filled = np.flatnonzero(ones[0].counts.sum(1) + others[0].counts.sum(1))

    def difference(drawn: IntArray) -> FloatArray:
        first, second = (_resampled(metric, tallies, filled, drawn) for tallies in (ones, others))
        return first - second

    return bootstrap_interval(difference, len(filled), resamples, seed)


def _resampled(
    metric: Metric, tallies: Sequence[Tally], rows: IntArray, drawn: IntArray
) -> FloatArray:
    """The metric's mean over runs in each resample: (R,)."""
    rates: FloatArray = np.mean(
        [
            metric(
                (drawn @ counted.hits[rows]).astype(float),
                (drawn @ counted.counts[rows]).astype(float),
            )
            for counted in tallies
        ],
        axis=0,
    )
    return rates


def class_scores(
    confusion: npt.NDArray[np.int64], classes: Sequence[str], runs: int = 1
) -> list[ClassScore]:
    """Precision, recall and F1 in percent, and count, per class of a (C, C) confusion matrix.

    Args:
        confusion: (truth, prediction), the sum over `runs` predictions of the same items.
    """
    hits = np.diag(confusion).astype(float)
    true, called = confusion.sum(1).astype(float), confusion.sum(0).astype(float)
    precision, recall = 100 * _quotient(hits, called), 100 * _quotient(hits, true)
    f1 = 100 * _quotient(2 * hits, true + called)
    return [
        ClassScore(
            label=name,
            precision=float(precision[k]),
            recall=float(recall[k]),
            f1=float(f1[k]),
            count=int(true[k]) // runs,
        )
        for k, name in enumerate(classes)
    ]
