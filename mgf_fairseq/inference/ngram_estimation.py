"""N-grams of transcripts, by interpolated modified Kneser-Ney smoothing.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998),
section 4.1.6, with unigrams interpolated with the uniform distribution, as KenLM's lmplz does.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .language_model import BEGIN, END, UNKNOWN_WORD, Gram, LanguageModelError, NgramModel

MOST_ORDER = 6
_MARKS = (BEGIN, END, UNKNOWN_WORD)
# Where the counts of counts give no discounts, as in few or artificial sentences.
FALLBACK = (0.5, 1.0, 1.5)
_NEVER_LOG10 = -99.0  # of <s>, which is no word that follows another


@dataclass(frozen=True)
class Estimated:
    """A model, and what it was made of."""

    model: NgramModel
    sentences: int
    words: int  # running ones
    fallback: list[int]  # orders whose discounts are FALLBACK


def estimate(sentences: Iterable[Sequence[str]], order: int = 3) -> Estimated:
    """Estimate an n-gram.

    Args:
        sentences: the words of each; empty ones are skipped.
        order: words in the longest n-gram, 1 to MOST_ORDER.

    Raises:
        LanguageModelError: there is no word, a word is one of the marks, or the order is none.
    """
    if not 1 <= order <= MOST_ORDER:
        raise LanguageModelError(f"order={order} must be 1 to {MOST_ORDER}")
    raw: Counter[Gram] = Counter()  # of the highest order, and of all that begin a sentence
    count, running = 0, 0
    for words in sentences:
        if not words:
            continue
        for mark in _MARKS:
            if mark in words:
                raise LanguageModelError(
                    f"{mark} is a mark of language models and cannot be a word"
                )
        count, running = count + 1, running + len(words)
        _count(raw, (BEGIN, *words, END), order)
    if not count:
        raise LanguageModelError("there is no word to make a language model of")
    levels = _adjusted(raw, order)
    discounts = [_discounts(level) for level in levels]
    model = _model(levels, [found or FALLBACK for found in discounts], order)
    fallback = [number for number, found in enumerate(discounts, start=1) if found is None]
    return Estimated(model, count, running, fallback)


def _count(raw: Counter[Gram], sentence: Gram, order: int) -> None:
    """Count the n-grams of the highest order, and the shorter ones that begin the sentence."""
    for stop in range(1, len(sentence) + 1):
        start = max(0, stop - order)
        raw[sentence[start:stop]] += 1


def _adjusted(raw: Counter[Gram], order: int) -> list[dict[Gram, int]]:
    """Counts by order: below the highest, of how many different words come before an n-gram.

    N-grams that begin a sentence have no word before them and keep their own counts.
    """
    levels: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for gram, number in raw.items():
        levels[len(gram) - 1][gram] += number
    for length in range(order - 1, 0, -1):
        levels[length - 1].update(Counter(gram[1:] for gram in levels[length]))
    return [dict(level) for level in levels]


def _discounts(level: dict[Gram, int]) -> tuple[float, float, float] | None:
    """What is taken off counts of 1, 2, and 3 or more; None where their numbers do not say."""
    once, twice, thrice, four = (
        sum(number == n for gram, number in level.items() if gram != (BEGIN,)) for n in (1, 2, 3, 4)
    )
    if not once or not twice or not thrice:
        return None
    ratio = once / (once + 2 * twice)
    found = (
        1 - 2 * ratio * twice / once,
        2 - 3 * ratio * thrice / twice,
        3 - 4 * ratio * four / thrice,
    )
    return found if all(0 < off <= n for n, off in enumerate(found, start=1)) else None


def _model(
    levels: Sequence[dict[Gram, int]], discounts: Sequence[tuple[float, float, float]], order: int
) -> NgramModel:
    probability: dict[Gram, float] = {}
    weight: dict[Gram, float] = {}  # of a history: the share of the next lower order
    vocabulary = [gram for gram in levels[0] if gram != (BEGIN,)]
    uniform = 1.0 / (len(vocabulary) + 1)  # and <unk>
    for level, taken in zip(levels, discounts, strict=True):
        following: dict[Gram, list[Gram]] = defaultdict(list)
        for gram in level:
            if gram != (BEGIN,):
                following[gram[:-1]].append(gram)
        for history, grams in following.items():
            total = sum(level[gram] for gram in grams)
            off = {gram: taken[min(level[gram], 3) - 1] for gram in grams}
            share = weight[history] = sum(off.values()) / total
            for gram in grams:
                lower = probability[gram[1:]] if history else uniform
                probability[gram] = (level[gram] - off[gram]) / total + share * lower
    probability[(UNKNOWN_WORD,)] = weight[()] * uniform
    log10 = {gram: math.log10(value) for gram, value in probability.items()}
    log10[(BEGIN,)] = _NEVER_LOG10
    backoff = {gram: math.log10(value) for gram, value in weight.items() if gram and value}
    return NgramModel(order, log10, backoff)
