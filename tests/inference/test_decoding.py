"""Greedy decoding: its symbols, where they are, and words that equal the joined text."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from mgf_fairseq.inference.decoding import GreedyDecoder, Hypothesis
from mgf_fairseq.inference.formats import as_srt
from mgf_fairseq.inference.transcripts import Word, cues, geometric_mean, words_of
from mgf_fairseq.inference.wer import join_symbols


def _log_probs(path: list[int], values: list[float], size: int = 5) -> torch.Tensor:
    """Log-probabilities whose likeliest symbols are `path`, each with its probability."""
    rest = torch.tensor([(1 - value) / (size - 1) for value in values])
    found = rest[:, None].repeat(1, size)
    found[torch.arange(len(path)), path] = torch.tensor(values)
    return found.log()


def test_a_symbol_takes_its_run_of_frames_and_the_probability_of_its_best_one() -> None:
    path, values = [0, 3, 3, 0, 3, 4, 4, 0, 2], [0.9, 0.5, 0.8, 0.9, 0.6, 0.7, 0.9, 0.9, 0.9]
    (best,) = GreedyDecoder(blank=0, ignored=frozenset({2})).decode([_log_probs(path, values)])
    assert best.symbols == [3, 3, 4]
    assert (best.first, best.last) == ([1, 4, 5], [2, 4, 6])
    assert best.confidence == pytest.approx([0.8, 0.6, 0.9])
    assert best.score == pytest.approx(sum(math.log(value) for value in values))
    assert (best.num_frames, best.blank_frames) == (9, 3)


def test_stretches_decode_as_the_whole_even_where_a_run_crosses_the_seam() -> None:
    rng = np.random.default_rng(0)
    whole = torch.from_numpy(rng.normal(size=(200, 5))).float().log_softmax(-1)
    whole[95:105, 3] = 0.0  # one long symbol across the seam
    decoder = GreedyDecoder(blank=0)
    assert decoder.decode([whole[:100], whole[100:]]) == decoder.decode([whole])
    assert decoder.decode([])[0].symbols == []


@pytest.mark.parametrize(
    ("post_process", "symbols"),
    [
        ("letter", ["|", "H", "I", "|", "|", "Y", "⁇"]),
        ("sentencepiece", ["▁the", "▁c", "at", "▁", "s"]),
        ("none", ["go", "up"]),
    ],
)
def test_words_are_those_of_the_joined_text(post_process: str, symbols: list[str]) -> None:
    count = len(symbols)
    frames = list(range(0, 3 * count, 3))
    hypothesis = Hypothesis(list(range(count)), frames, frames, [0.5] * count, 0.0, 3 * count, 0)
    words = words_of(hypothesis, symbols, post_process, frame_seconds=0.02)
    assert " ".join(word.text for word in words) == join_symbols(" ".join(symbols), post_process)
    assert all(word.start < word.end and word.confidence == pytest.approx(0.5) for word in words)
    assert all(a.end <= b.start for a, b in itertools.pairwise(words))


def test_a_word_lasts_from_its_first_symbol_to_the_end_of_its_last() -> None:
    hypothesis = Hypothesis(
        [5, 6, 4, 7], [10, 14, 20, 50], [11, 15, 21, 50], [0.9, 0.4, 1, 0], 0, 60, 0
    )
    found = words_of(hypothesis, ["H", "I", "|", "A"], "letter", frame_seconds=0.02)
    assert found == [Word("HI", 0.2, 0.32, geometric_mean([0.9, 0.4])), Word("A", 1.0, 1.02, 0.0)]


def test_subtitles_are_short_and_end_at_pauses() -> None:
    words = [Word(f"word{n}", n * 0.4, n * 0.4 + 0.3, 1.0) for n in range(40)]
    words.append(Word("later", 3600.0 + 61.0, 3661.5, 1.0))
    groups = list(cues(words))
    assert [word for group in groups for word in group] == words
    assert all(group[-1].end - group[0].start <= 7 for group in groups)
    assert all(len(" ".join(word.text for word in group)) <= 84 for group in groups)
    assert groups[-1] == words[-1:]
    last = as_srt(words).split("\n\n")[-1]
    assert last == f"{len(groups)}\n01:01:01,000 --> 01:01:01,500\nlater\n"
    assert as_srt(words, one_by_one=True).count("-->") == len(words)
