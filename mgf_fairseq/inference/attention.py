"""The decoder of ``wav2vec_seq2seq``: frames of the encoder in, symbols out, by fairseq's search.

A `Decoder` as those of CTC are; recognizer.py gives it the encoder's frames in place of
log-probabilities. It does not know where in the recording a symbol is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel
from fairseq.models.wav2vec.wav2vec2_asr import Wav2VecEncoder
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor, nn

from .decoding import Hypothesis

# Recordings above LONG_SECONDS are decoded in windows that share OVERLAP_SECONDS with the one
# before; the last window is as long as what is left. Our choice.
LONG_SECONDS, WINDOW_SECONDS, OVERLAP_SECONDS = 40.0, 20.0, 4.0
# A hypothesis ends after so many symbols, as in validation (configs/finetune/base/seq2seq.yaml).
SYMBOLS_PER_SECOND, MORE_SYMBOLS = 24.0, 20
LEAST_IN_COMMON = 4  # symbols that two windows must both have where they are joined

Known = tuple[int, float]  # a symbol and its probability


def encoder_frames(model: nn.Module, source: Tensor, padding_mask: Tensor) -> Tensor:
    """(B, S) and its mask -> (B, T, D): what the decoder of a ``wav2vec_seq2seq`` attends to."""
    encoded: Tensor = model.encoder(source=source, padding_mask=padding_mask)["encoder_out"]  # type: ignore[operator]
    return encoded.transpose(0, 1)  # (T, B, D) -> (B, T, D)


class _Encoded(FairseqEncoder):  # type: ignore[misc]
    """Takes the place of the encoder, whose frames are there already."""

    def forward(self, features: Tensor, padding_mask: Tensor | None) -> dict[str, Any]:
        """(B, T, D) -> the result of fairseq's Wav2VecEncoder, (T, B, D)."""
        return {"encoder_out": features.transpose(0, 1), "padding_mask": padding_mask}

    reorder_encoder_out = Wav2VecEncoder.reorder_encoder_out


@dataclass(frozen=True)
class AttentionDecoder:
    """Writes symbol after symbol, each from the frames and the symbols before it."""

    model: nn.Module  # a wav2vec_seq2seq
    dictionary: Dictionary
    frame_rate: float  # frames per second
    beam: int = 1  # hypotheses that are followed; 1 is greedy decoding

    def decode(self, frames: Iterable[Tensor]) -> list[Hypothesis]:
        """Decode one recording, (T, D) of each stretch; long ones in windows."""
        long, most, overlap = (
            round(seconds * self.frame_rate)
            for seconds in (LONG_SECONDS, WINDOW_SECONDS, OVERLAP_SECONDS)
        )
        known: list[Known] = []
        number, score = 0, 0.0
        for window in windows(frames, long, most, overlap):
            found, value = self._window(window)
            shared = overlap / len(window) if number else 0.0
            known = joined(known, found, math.ceil(2 * shared * len(found)))
            number += len(window) - (overlap if number else 0)
            score += value
        symbols, confidence = [s for s, _ in known], [p for _, p in known]
        return [Hypothesis(symbols, [], [], confidence, score, number, 0)]

    @cached_property
    def _generator(self) -> SequenceGenerator:
        held = FairseqEncoderDecoderModel(_Encoded(self.dictionary), self.model.decoder)
        return SequenceGenerator(
            [held],
            self.dictionary,
            beam_size=self.beam,
            max_len_a=SYMBOLS_PER_SECOND / self.frame_rate,
            max_len_b=MORE_SYMBOLS,
        )

    @torch.no_grad()
    def _window(self, frames: Tensor) -> tuple[list[Known], float]:
        """(T, D) -> the symbols without the end of the sentence, and their log-probability."""
        given = {"features": frames[None], "padding_mask": None}
        best = self._generator.generate([], {"net_input": given})[0][0]
        symbols = best["tokens"].tolist()
        values = best["positional_scores"].double()
        ends = self.dictionary.eos()
        pairs = zip(symbols, values.exp().clamp(max=1.0).tolist(), strict=True)
        return [(symbol, value) for symbol, value in pairs if symbol != ends], float(values.sum())


def windows(stretches: Iterable[Tensor], long: int, most: int, overlap: int) -> Iterator[Tensor]:
    """Consecutive stretches of frames, (T, D) each -> one window, or several that overlap.

    Args:
        stretches: what a long recording comes in; only about `long` frames are held.
        long: up to so many frames are one window.
        most: frames of a window, except the last, which has what is left.
        overlap: frames at the beginning of a window that end the one before it.
    """
    held: Tensor | None = None
    for stretch in stretches:
        held = stretch if held is None else torch.cat([held, stretch])
        while len(held) > long:
            yield held[:most]
            held = held[most - overlap :]
    if held is not None and len(held):
        yield held


def joined(before: Sequence[Known], after: Sequence[Known], near: int) -> list[Known]:
    """Join the symbols of two windows in the middle of the longest run that both have.

    Args:
        before: symbols so far, with their probabilities.
        after: those of the next window.
        near: how many symbols, at the end of one and the beginning of the other, may be the same
            speech. Where fewer than `LEAST_IN_COMMON` agree, all symbols of both are kept.
    """
    start = max(len(before) - near, 0)
    tail, head = [s for s, _ in before[start:]], [s for s, _ in after[:near]]
    common = SequenceMatcher(None, tail, head, autojunk=False).find_longest_match()
    if common.size < LEAST_IN_COMMON:
        return [*before, *after]
    half = common.size // 2
    return [*before[: start + common.a + half], *after[common.b + half :]]
