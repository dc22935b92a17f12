"""Paired comparison of two rows: the same test utterances, drawn together.

Between the counts in result files and the table. What makes a speaker easy or hard for both rows
drops out of their difference, so it is known far better than either score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.metrics import (
    Metric,
    Tally,
    accuracy,
    accuracy_without,
    paired_interval,
    sum_by,
    uar,
)
from ..evaluation.results import TaskResult, UtteranceCounts
from ..evaluation.utterances import CHARACTERS, WORDS, tally_of
from ..utils.intervals import units_of
from .collect import Result

_Key = tuple[str, int]  # an entry of the manifest, and how often it has come before


@dataclass(frozen=True)
class Paired:
    """The 95 % interval of a difference in points."""

    low: float
    high: float
    over: str  # what was drawn: "4 speakers"

    @property
    def leaves_zero(self) -> bool:
        """Whether the two rows differ by more than the choice of test data explains."""
        return self.low > 0 or self.high < 0


def compare(metric: str, ones: Sequence[Result], others: Sequence[Result]) -> Paired | None:
    """Draw the difference between two rows, each the mean of its members (pre-training seeds).

    Returns:
        None where a result has no counts per utterance, or the rows share no utterance.
    """
    results = [*ones, *others]
    counted = [_by_entry(result.utterances) for result in results]
    function = _metric(metric, results[0])
    common = [key for key in counted[0] if all(key in found for found in counted)]
    if function is None or not common:
        return None
    units = units_of([counted[0][key].speaker for key in common], len(common))
    tallies = [
        sum_by(_tally(result, [found[key] for key in common]), units.of_utterance)
        for result, found in zip(results, counted, strict=True)
    ]
    low, high = paired_interval(function, tallies[: len(ones)], tallies[len(ones) :])
    most = max(map(len, counted))
    shared = f", of {len(common)} utterances that all have" if len(common) < most else ""
    return Paired(low, high, f"{units.words}{shared}")


def _by_entry(utterances: Sequence[UtteranceCounts]) -> dict[_Key, UtteranceCounts]:
    seen: Counter[str] = Counter()
    found = {}
    for utterance in utterances:
        found[utterance.entry, seen[utterance.entry]] = utterance
        seen[utterance.entry] += 1
    return found


def _tally(result: Result, utterances: Sequence[UtteranceCounts]) -> Tally:
    classes = len(result.data.classes) if isinstance(result, TaskResult) else CHARACTERS + 1
    return tally_of(utterances, classes, len(result.seeds))


def _metric(name: str, result: Result) -> Metric | None:
    """The metric as a function of counts; None for one that counts do not give."""
    silence = result.protocol.get("silence", [])
    numbers = [k for k, label in enumerate(result.data.classes) if label in silence]
    return {
        "accuracy": accuracy,
        "uar": uar,
        "accuracy_no_sil": accuracy_without(numbers),
        "wer": accuracy_without([CHARACTERS]),  # of words; "hits" are errors here
        "cer": accuracy_without([WORDS]),
    }.get(name)
