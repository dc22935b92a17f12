"""Beam search against greedy decoding and against the sum over every alignment."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
import torch

from mgf_fairseq.inference.beam_search import BeamDecoder
from mgf_fairseq.inference.decoding import GreedyDecoder
from mgf_fairseq.inference.language_model import END
from mgf_fairseq.inference.lexicon import AnyWord, texts_of, tree_of
from mgf_fairseq.inference.ngram_estimation import estimate

BLANK, EOS = 0, 2
LETTERS = ["", "?", "", " ", "A", "B"]
IGNORED = frozenset({EOS})


def _log_probs(frames: int, scale: float, seed: int, size: int = len(LETTERS)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(frames, size, generator=generator)).log_softmax(-1)


@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0])
def test_a_beam_of_one_without_words_and_model_is_greedy_decoding(scale: float) -> None:
    for seed in range(20):
        log_probs = _log_probs(80, scale, seed)
        (expected,) = GreedyDecoder(BLANK, IGNORED).decode([log_probs])
        decoder = BeamDecoder(LETTERS, AnyWord(), BLANK, IGNORED, beam=1)
        (found,) = decoder.decode([log_probs[:33], log_probs[33:]])
        assert found.symbols == expected.symbols
        assert (found.first, found.last) == (expected.first, expected.last)
        assert found.confidence == pytest.approx(expected.confidence)
        assert found.score == pytest.approx(expected.score)
        assert (found.num_frames, found.blank_frames) == (80, expected.blank_frames)


def _by_hand(
    log_probs: torch.Tensor, words: list[str] | None, decoder: BeamDecoder
) -> dict[tuple[int, ...], float]:
    """The score of each row of symbols: over all alignments, with all words scored at the end."""
    chance: dict[tuple[int, ...], float] = defaultdict(float)
    values = log_probs.tolist()
    for path in itertools.product(range(len(LETTERS)), repeat=len(log_probs)):
        runs = [symbol for symbol, _ in itertools.groupby(path)]
        kept = tuple(symbol for symbol in runs if symbol not in (BLANK, EOS))
        chance[kept] += math.exp(sum(values[t][s] for t, s in enumerate(path)))
    scores = {}
    for symbols, probability in chance.items():
        spoken = "".join(LETTERS[symbol] for symbol in symbols).split()
        if words is not None and not set(spoken) <= set(words):
            continue
        score = math.log(probability) + decoder.word_score * len(spoken)
        if decoder.model is not None:
            state = decoder.model.start
            for word in [*spoken, END]:
                value, state = decoder.model.score(state, word)
                score += decoder.lm_weight * value
        scores[symbols] = score
    return scores


@pytest.mark.parametrize("words", [None, ["A", "AB", "BA"]])
@pytest.mark.parametrize("with_model", [False, True])
def test_a_wide_beam_finds_the_best_of_all_rows_of_symbols(
    words: list[str] | None, with_model: bool
) -> None:
    model = estimate([["A", "AB"], ["BA", "A"], ["AB"]], 2).model if with_model else None
    root = AnyWord() if words is None else tree_of(words)
    decoder = BeamDecoder(
        *(LETTERS, root, BLANK, IGNORED, model),
        beam=100_000,
        lm_weight=0.7,
        word_score=0.4,
    )
    for seed in range(3):
        log_probs = _log_probs(5, 1.0, seed)
        expected = _by_hand(log_probs, words, decoder)
        found = decoder.decode([log_probs])
        # fp32 log-probabilities of 5 frames: 1e-5
        assert {tuple(h.symbols): h.score for h in found} == pytest.approx(expected, abs=1e-5)
        assert found[0].symbols == list(max(expected, key=expected.__getitem__))


def test_only_listed_words_come_out_even_of_noise_that_ends_within_one() -> None:
    words = ["AB", "BBA"]
    decoder = BeamDecoder(LETTERS, tree_of(words), BLANK, IGNORED, beam=8)
    for seed in range(20):
        for frames in (1, 3, 60):
            (best, *_) = decoder.decode([_log_probs(frames, 4.0, seed)])
            text = "".join(LETTERS[symbol] for symbol in best.symbols)
            assert set(text.split()) <= set(words)
            assert best.first == sorted(best.first) and best.num_frames == frames
    assert decoder.decode([])[0].symbols == []


def test_words_are_found_where_greedy_letters_are_none() -> None:
    frames = [BLANK, 4, BLANK, 4, 3]  # A A |
    log_probs = torch.full((5, len(LETTERS)), 0.02)
    log_probs[range(5), frames] = 0.5
    log_probs[3, 5] = 0.4  # B is nearly as likely
    log_probs = log_probs.log().log_softmax(-1)
    assert GreedyDecoder(BLANK, IGNORED).decode([log_probs])[0].symbols == [4, 4, 3]
    decoder = BeamDecoder(LETTERS, tree_of(["AB", "B"]), BLANK, IGNORED)
    assert decoder.decode([log_probs])[0].symbols[:2] == [4, 5]


def test_pieces_of_sentencepiece_spell_the_listed_words() -> None:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁th", "e", "▁cat", "s"]
    texts = ["" if number in (BLANK, EOS) else text
             for number, text in enumerate(texts_of(pieces, "sentencepiece"))]  # fmt: skip
    decoder = BeamDecoder(texts, tree_of(["the", "cats"]), BLANK, IGNORED)
    path = [5, 6, 6, 8, 7, 8, 7]  # ▁th e s ▁cat s ▁cat: "thes" and a lone "cat" are no words
    log_probs = torch.full((len(path), len(pieces)), 0.01)
    log_probs[range(len(path)), path] = 0.9
    log_probs[3, BLANK] = 0.05
    best = decoder.decode([log_probs.log().log_softmax(-1)])[0]
    assert "".join(texts[symbol] for symbol in best.symbols) == " the cats"
