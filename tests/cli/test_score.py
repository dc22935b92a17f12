"""Advice names what to look at."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from mgf_fairseq.cli.score import advice
from mgf_fairseq.inference.wer import score_corpus, score_utterance


def test_advice_names_the_frozen_encoder_and_is_silent_where_the_model_learns() -> None:
    nothing = score_corpus([score_utterance("a", "a b", "")])
    frozen: Any = Mock(num_updates=10, freeze_finetune_updates=100, attention=None)
    assert "still frozen" in "\n".join(advice(nothing, frozen))
    assert not advice(score_corpus([score_utterance("a", "a b", "a c")]), frozen)
