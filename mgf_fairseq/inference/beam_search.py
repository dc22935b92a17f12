"""Beam search over the frames of CTC, with a word list, a language model, both, or neither.

A `Decoder` as greedy decoding is; search.py builds one from files. Hypotheses are kept apart by
their symbols and by whether the last frame is blank (Graves et al., 2006, section 3.2; Hannun et
al., arXiv 1408.2873), so a beam of 1 without words and model is greedy decoding.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .decoding import Hypothesis
from .language_model import END, LanguageModel
from .lexicon import Place

if TYPE_CHECKING:
    from torch import Tensor

# Below the best one of a frame by so much (in natural logarithms), symbols and hypotheses are not
# followed; and at most so many symbols.
SYMBOL_MARGIN, BEAM_MARGIN, MOST_SYMBOLS = 12.0, 20.0, 40
_MISSING = object()


class Span(NamedTuple):
    """A symbol of a hypothesis with its frames, after those before it."""

    before: Span | None
    symbol: int
    first: int
    last: int
    highest: float  # log-probability of its best frame


@dataclass(slots=True)
class Prefix:
    """The symbols of a hypothesis: what matters for what may follow."""

    key: int  # equal for equal symbols
    place: Place
    state: Any  # of the language model
    bonus: float  # of language model and words, so far
    open_symbols: int  # of the word that is not finished
    following: dict[int, Prefix | None] = field(default_factory=dict)


@dataclass(slots=True)
class Beam:
    """The ways through the frames so far that give one prefix and end in one symbol."""

    prefix: Prefix
    last: int  # symbol of the last frame
    acoustic: float  # log-probability of all these ways
    best: float  # of the best of them
    spans: Span | None  # along the best one

    @property
    def total(self) -> float:
        """What beams are compared by."""
        return self.acoustic + self.prefix.bonus


@dataclass(frozen=True)
class BeamDecoder:
    """Searches for the symbols of the highest score.

    The score is ln P(symbols | frames) + lm_weight * ln P(words) + word_score * number of words.
    """

    texts: Sequence[str]  # characters that each symbol adds; a space is a border between words
    root: Place  # before a word: which words there are
    blank: int
    ignored: frozenset[int] = frozenset()  # symbols that are not part of a text
    model: LanguageModel | None = None
    beam: int = 50
    lm_weight: float = 0.0
    word_score: float = 0.0

    def decode(self, log_probs: Iterable[Tensor]) -> list[Hypothesis]:
        """Decode one recording; (T, V) of each stretch."""
        state = self.model.start if self.model else None
        beams = [Beam(Prefix(0, self.root, state, 0.0, 0), self.blank, 0.0, 0.0, None)]
        number, blanks = 0, 0
        for stretch in log_probs:
            frames = stretch.float().cpu().numpy()
            blanks += int((frames.argmax(axis=1) == self.blank).sum())
            for symbols in _symbols_of(frames):
                beams = self._after(beams, symbols, number)
                number += 1
        return [_hypothesis(spans, score, number, blanks) for spans, score in self._finished(beams)]

    def _after(
        self, beams: Sequence[Beam], symbols: Sequence[tuple[int, float]], number: int
    ) -> list[Beam]:
        """The best beams after one more frame."""
        found: dict[tuple[int, int], Beam] = {}
        floor = beams[0].total + symbols[0][1] - BEAM_MARGIN
        for beam in beams:
            least = floor - beam.total
            for symbol, value in symbols:
                if value < least:
                    break  # the symbols come by probability
                following = self._step(beam, symbol)
                if following is None:
                    continue
                acoustic, best = beam.acoustic + value, beam.best + value
                key = (following.key, symbol)
                there = found.get(key)
                if there is None:
                    spans = self._spans(beam, symbol, number, value)
                    found[key] = Beam(following, symbol, acoustic, best, spans)
                    continue
                there.acoustic = _log_add(there.acoustic, acoustic)
                if best > there.best:
                    there.best = best
                    there.spans = self._spans(beam, symbol, number, value)
        if not found:  # the word list allows none of the likely symbols
            return self._stuck(beams, symbols, number)
        return heapq.nlargest(self.beam, found.values(), key=lambda beam: beam.total)

    def _stuck(
        self, beams: Sequence[Beam], symbols: Sequence[tuple[int, float]], number: int
    ) -> list[Beam]:
        """Stay where all beams are, in a frame whose symbols none of them can take."""
        value = symbols[-1][1]
        for beam in beams:
            beam.acoustic, beam.best, beam.last = (
                beam.acoustic + value,
                beam.best + value,
                self.blank,
            )
        return list(beams)

    def _step(self, beam: Beam, symbol: int) -> Prefix | None:
        """The prefix after a frame of `symbol`; None where the words do not allow it."""
        if symbol == self.blank or symbol == beam.last or symbol in self.ignored:
            return beam.prefix
        known = beam.prefix.following.get(symbol, _MISSING)
        if known is _MISSING:
            known = beam.prefix.following[symbol] = self._extended(beam.prefix, symbol)
        return known  # type: ignore[return-value]

    def _extended(self, prefix: Prefix, symbol: int) -> Prefix | None:
        place, state, bonus = prefix.place, prefix.state, prefix.bonus
        open_symbols = prefix.open_symbols + 1
        for character in self.texts[symbol]:
            if character != " ":
                following = place.step(character)
                if following is None:
                    return None
                place = following
                continue
            if place is not self.root:
                if place.word is None:
                    return None
                gain, state = self._word(state, place.word)
                bonus, place = bonus + gain, self.root
            open_symbols = 1
        if place is self.root:
            open_symbols = 0
        return Prefix(hash((prefix.key, symbol)), place, state, bonus, open_symbols)

    def _word(self, state: Any, word: str) -> tuple[float, Any]:
        """What a word adds to the score, and the state after it."""
        if self.model is None:
            return self.word_score, state
        value, state = self.model.score(state, word)
        return self.lm_weight * value + self.word_score, state

    def _spans(self, beam: Beam, symbol: int, number: int, value: float) -> Span | None:
        """The symbols along the best way, with one more frame."""
        if symbol == self.blank or symbol in self.ignored:
            return beam.spans
        if symbol == beam.last and beam.spans is not None:
            before, _, first, _, highest = beam.spans
            return Span(before, symbol, first, number, max(highest, value))
        return Span(beam.spans, symbol, number, number, value)

    def _finished(self, beams: Sequence[Beam]) -> list[tuple[Span | None, float]]:
        """Symbols and scores at the end, the best first; those that end within a word are cut."""
        whole: dict[int, tuple[float, Beam, float]] = {}
        for beam in beams:
            gain = self._end(beam.prefix)
            if gain is None:
                continue
            key = beam.prefix.key
            acoustic, best, _ = whole.get(key, (-math.inf, beam, 0.0))
            chosen = beam if beam.best >= best.best else best
            whole[key] = (_log_add(acoustic, beam.acoustic), chosen, beam.prefix.bonus + gain)
        if not whole:
            best = max(beams, key=lambda beam: beam.total)
            spans = best.spans
            for _ in range(best.prefix.open_symbols):
                assert spans is not None
                spans = spans.before
            return [(spans, best.total)]
        found = [(beam.spans, acoustic + gain) for acoustic, beam, gain in whole.values()]
        return sorted(found, key=lambda one: -one[1])

    def _end(self, prefix: Prefix) -> float | None:
        """What the end of the utterance adds to a score; None within a word."""
        gain, state = 0.0, prefix.state
        if prefix.place is not self.root:
            if prefix.place.word is None:
                return None
            gain, state = self._word(state, prefix.place.word)
        if self.model is not None:
            gain += self.lm_weight * self.model.score(state, END)[0]
        return gain


def _log_add(one: float, other: float) -> float:
    """ln(exp(one) + exp(other))."""
    if one < other:
        one, other = other, one
    return one + math.log1p(math.exp(other - one))


def _symbols_of(frames: Any) -> Iterator[list[tuple[int, float]]]:
    """(T, V) log-probabilities -> of each frame the likely symbols, the likeliest first."""
    most = min(MOST_SYMBOLS, frames.shape[1])
    order = np.argsort(-frames, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(frames, order, axis=1).astype(np.float64)
    kept = (values >= values[:, :1] - SYMBOL_MARGIN).sum(axis=1).tolist()
    for symbols, chosen, count in zip(order.tolist(), values.tolist(), kept, strict=True):
        yield list(zip(symbols[:count], chosen[:count], strict=True))


def _hypothesis(spans: Span | None, score: float, frames: int, blanks: int) -> Hypothesis:
    found: list[Span] = []
    while spans is not None:
        found.append(spans)
        spans = spans.before
    found.reverse()
    return Hypothesis(
        symbols=[span.symbol for span in found],
        first=[span.first for span in found],
        last=[span.last for span in found],
        confidence=[math.exp(span.highest) for span in found],
        score=score,
        num_frames=frames,
        blank_frames=blanks,
    )
