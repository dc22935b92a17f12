"""What each test utterance adds to a score, as result files keep it, and back to tallies.

Between the scores and the result files; the report compares rows utterance by utterance with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .metrics import Tally
from .results import UtteranceCounts, UtteranceGain

WORDS, CHARACTERS = 0, 1  # the "classes" of recognition, whose "hits" are errors


def counts_of(
    tallies: Sequence[Tally], entries: Sequence[str], speakers: Sequence[str] | None
) -> list[UtteranceCounts]:
    """Sum the hits of all seeds, which have the same items."""
    items, hits = tallies[0].counts, sum(counted.hits for counted in tallies)
    assert isinstance(hits, np.ndarray)
    found = []
    for row, entry in enumerate(entries):
        triples = [[k, items[row, k], hits[row, k]] for k in np.flatnonzero(items[row])]
        counts = [int(number) for triple in triples for number in triple]
        speaker = speakers[row] if speakers else ""
        found.append(UtteranceCounts(entry=entry, speaker=speaker, counts=counts))
    return found


def tally_of(utterances: Sequence[UtteranceCounts], num_classes: int, seeds: int) -> Tally:
    """Hits per seed, on average, and items: (U, C) each."""
    hits = np.zeros((len(utterances), num_classes))
    items = np.zeros((len(utterances), num_classes), np.int64)
    for row, utterance in enumerate(utterances):
        for start in range(0, len(utterance.counts), 3):
            k, count, found = utterance.counts[start : start + 3]
            items[row, k], hits[row, k] = count, found / seeds
    return Tally(hits, items)


def tally_of_gains(utterances: Sequence[UtteranceGain]) -> Tally:
    """Gains as the values of one class: (U, 1)."""
    gains = np.array([utterance.gain for utterance in utterances]).reshape(-1, 1)
    return Tally(gains, np.ones(gains.shape, np.int64))
