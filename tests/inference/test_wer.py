"""Error rates equal editdistance, and intervals hold."""

from __future__ import annotations

import editdistance
import numpy as np
import pytest
from scipy.stats import binom

from mgf_fairseq.inference.wer import (
    count_edits,
    join_symbols,
    rate_interval,
    score_corpus,
    score_utterance,
    worst,
)

PAIRS = [("the cat sat", "the cat sat"), ("a b c d", "a x c"), ("one two", ""), ("a", "b a c")]


def test_error_rates_are_sums_of_editdistance_over_sums_of_units() -> None:
    corpus = score_corpus(
        [score_utterance(str(i), *pair, frames=8, blank_frames=i) for i, pair in enumerate(PAIRS)]
    )
    words = sum(editdistance.eval(r.split(), h.split()) for r, h in PAIRS)
    letters = sum(editdistance.eval(r, h) for r, h in PAIRS)
    assert corpus.wer == pytest.approx(100 * words / sum(len(r.split()) for r, _ in PAIRS))
    assert corpus.cer == pytest.approx(100 * letters / sum(len(r) for r, _ in PAIRS))
    assert corpus.wer_low <= corpus.wer <= corpus.wer_high
    assert corpus.blank_ratio == pytest.approx(sum(range(len(PAIRS))) / (8 * len(PAIRS)))


def test_the_worst_utterances_have_the_most_wrong_words_then_letters_and_none_is_right() -> None:
    pairs = {
        "right": ("A B C", "A B C"),
        "letters": ("A B C", "A B XYZUVW"),  # one word, six letters
        "letter": ("A B C", "A B X"),
        "words": ("A B C", "X Y C"),  # two words, two letters
        "also two": ("A B C", "X Y C"),
    }
    scores = [score_utterance(name, *pair) for name, pair in pairs.items()]
    found = [score.entry for score in worst(scores, 10)]
    assert found == ["also two", "words", "letters", "letter"]
    assert [score.entry for score in worst(scores, 2)] == found[:2]


def test_the_interval_of_an_error_rate_holds_95_percent_of_the_resamples() -> None:
    found = rate_interval([0, 5] * 200, [5] * 400)
    exact = [100 * binom.ppf(p, 400, 0.5) / 400 for p in (0.025, 0.975)]
    # Steps of 0.25; an interval of 90 percent lies 0.75 within it.
    assert found == pytest.approx(exact, abs=0.3)


def test_edits_sum_to_the_distance_on_random_strings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = ("".join(rng.choice(list("abc"), rng.integers(0, 9))) for _ in range(2))
        edits = count_edits(one, other)
        assert edits.total == editdistance.eval(one, other)
        assert len(one) - edits.deletions + edits.insertions == len(other)


def test_letters_and_pieces_become_words() -> None:
    assert join_symbols("T H E | C A T |", "letter") == "THE CAT"
    assert join_symbols("▁the ▁c at", "sentencepiece") == "the cat"
    with pytest.raises(ValueError, match="wordpieces"):
        join_symbols("a", "wordpieces")
