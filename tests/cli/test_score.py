"""Advice names what to look at."""

from __future__ import annotations

from mgf_fairseq.cli.score import advice
from mgf_fairseq.inference.wer import score_corpus, score_utterance


def test_advice_names_the_frozen_encoder_and_is_silent_where_the_model_learns() -> None:
    nothing = score_corpus([score_utterance("a", "a b", "")])
    assert "still frozen" in "\n".join(advice(nothing, 10, 100))
    assert not advice(score_corpus([score_utterance("a", "a b", "a c")]), 10, 100)
