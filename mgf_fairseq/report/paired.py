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
    mean_of,
    paired_interval,
    sum_by,
    uar,
)
from ..evaluation.results import (
    EnhancementResult,
    TaskResult,
    UtteranceCounts,
    UtteranceGain,
)
from ..evaluation.utterances import CHARACTERS, WORDS, tally_of, tally_of_gains
from ..utils.intervals import units_of
from .collect import Result

_Key = tuple[str, int]  # an entry of the manifest, and how often it has come before


@dataclass(frozen=True)
class Paired:
    """The 95 % interval of a difference, in points or in the unit of the metric."""

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
    places = [_places(result.utterances) for result in results]
    function = _metric(metric, results[0])
    common = [key for key in places[0] if all(key in found for found in places)]
    if function is None or not common:
        return None
    speakers = [results[0].utterances[places[0][key]].speaker for key in common]
    units = units_of(speakers, len(common))
    tallies = [
        sum_by(_tally(result, [found[key] for key in common]), units.of_utterance)
        for result, found in zip(results, places, strict=True)
    ]
    low, high = paired_interval(function, tallies[: len(ones)], tallies[len(ones) :])
    most = max(map(len, places))
    shared = f", of {len(common)} utterances that all have" if len(common) < most else ""
    return Paired(low, high, f"{units.words}{shared}")


def _places(utterances: Sequence[UtteranceCounts | UtteranceGain]) -> dict[_Key, int]:
    """Where each entry is among the utterances of a result."""
    seen: Counter[str] = Counter()
    found = {}
    for place, utterance in enumerate(utterances):
        found[utterance.entry, seen[utterance.entry]] = place
        seen[utterance.entry] += 1
    return found


def _tally(result: Result, places: list[int]) -> Tally:
    """What some utterances of a result, by their places in it, add to its score."""
    if isinstance(result, EnhancementResult):
        whole = tally_of_gains(result.utterances)
    else:
        classes = len(result.data.classes) if isinstance(result, TaskResult) else CHARACTERS + 1
        whole = tally_of(result.utterances, classes, len(result.seeds))
    return Tally(whole.hits[places], whole.counts[places])


def _metric(name: str, result: Result) -> Metric | None:
    """The metric as a function of counts; None for one that counts do not give."""
    silence = result.protocol.get("silence", [])
    numbers = [k for k, label in enumerate(result.data.classes) if label in silence]
    return {
        "accuracy": accuracy,
        "uar": uar,
        "si_sdr_gain": mean_of,
        "accuracy_no_sil": accuracy_without(numbers),
        "wer": accuracy_without([CHARACTERS]),  # of words; "hits" are errors here
        "cer": accuracy_without([WORDS]),
    }.get(name)
