"""The decoder that a word list, a language model and a beam ask for, built from files.

Between the options of `mgf score` and `mgf transcribe` or `Recognizer.load`, and beam_search.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..utils.progress import Progress, silent
from .arpa import load_language_model
from .beam_search import BeamDecoder
from .language_model import LanguageModel, LanguageModelError
from .lexicon import (
    AnyWord,
    missing_symbols,
    read_words,
    require_spellable,
    texts_of,
    tree_of,
    unspellable,
)

BEAM, LM_WEIGHT, WORD_SCORE = 50, 0.5, 0.0
# A language model is refused where more of its words than this cannot be spelled.
MOST_UNSPELLABLE = 0.5


@dataclass(frozen=True)
class Search:
    """How to decode; greedily where nothing is given."""

    words: Path | Sequence[str] | None = None  # the only words: a file, or a list
    lm: Path | None = None  # ARPA file, or KenLM's binary one
    beam: int | None = None  # hypotheses that are followed; BEAM if None
    lm_weight: float | None = None  # of the natural logarithm of a word's probability
    word_score: float | None = None  # added for each word

    def __post_init__(self) -> None:
        if self.beam is not None and self.beam < 1:
            raise ValueError(f"beam {self.beam} must be at least 1")
        for name in ("lm_weight", "word_score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} {value} must be a finite number")
        if self.lm_weight is not None and self.lm is None:
            raise ValueError("a weight of the language model, but no language model: give --lm too")
        if self.lm_weight is not None and self.lm_weight < 0:
            raise ValueError(f"lm_weight {self.lm_weight:g} must not be negative")
        if self.word_score is not None and self.lm is None and self.words is None:
            raise ValueError("a score of words, but neither words nor language model: give --lm")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is asked for."""
        return self.words is None and self.lm is None and self.beam is None

    @property
    def said(self) -> str:
        """In words, for reports."""
        if self.is_greedy:
            return "greedy"
        parts = [f"beam {self.beam or BEAM}"]
        if self.words is not None:
            parts.append(
                f"words of {self.words.name}" if isinstance(self.words, Path)
                else f"{len(self.words)} words"
            )  # fmt: skip
        if self.lm is not None:
            weight = LM_WEIGHT if self.lm_weight is None else self.lm_weight
            parts.append(f"language model {self.lm.name}, weight {weight:g}")
        if self.words is not None or self.lm is not None:
            parts.append(f"word score {self.word_score or WORD_SCORE:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Symbols:
    """What a model emits, as a search needs it."""

    spelled: Sequence[str]
    post_process: str
    blank: int
    ignored: frozenset[int]

    @property
    def texts(self) -> list[str]:
        """The characters that each symbol adds to a text; none of the blank."""
        silent_ones = {self.blank, *self.ignored}
        found = texts_of(self.spelled, self.post_process)
        return ["" if number in silent_ones else text for number, text in enumerate(found)]


@dataclass(frozen=True)
class Built:
    """A decoder, and what a user should know of its files."""

    decoder: BeamDecoder
    notes: list[str]
    word_list: list[str] | None = None  # the only words

    def weighted(self, lm_weight: float, word_score: float) -> BeamDecoder:
        """The same decoder with other weights."""
        return replace(self.decoder, lm_weight=lm_weight, word_score=word_score)


def build_search(search: Search, symbols: Symbols, progress: Progress = silent) -> Built:
    """Read the files of a search, and compare them with the model's symbols.

    Raises:
        LexiconError: the word list is empty, or holds a word that the symbols cannot spell.
        LanguageModelError: the model is broken, or knows mostly such words.
    """
    texts = symbols.texts
    listed: list[str] | None = None
    notes: list[str] = []
    if search.words is not None:
        given = search.words
        listed = read_words(given) if isinstance(given, Path) else list(dict.fromkeys(given))
        place = str(given) if isinstance(given, Path) else "words"
        require_spellable(listed, texts, place)
    model = load_language_model(search.lm, progress) if search.lm is not None else None
    if model is not None and search.lm is not None:
        notes = _compare(model, texts, listed, search.lm)
    decoder = BeamDecoder(
        texts=texts,
        root=AnyWord() if listed is None else tree_of(listed),
        blank=symbols.blank,
        ignored=symbols.ignored,
        model=model,
        beam=search.beam or BEAM,
        lm_weight=0.0 if model is None else _or(search.lm_weight, LM_WEIGHT),
        word_score=_or(search.word_score, WORD_SCORE),
    )
    return Built(decoder, notes, listed)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _compare(
    model: LanguageModel, texts: Sequence[str], listed: Sequence[str] | None, path: Path
) -> list[str]:
    """What is to be said of a model's words; refuse it where most of them do not fit."""
    if model.words is None:
        return []
    known = set(model.words)
    wrong = unspellable(model.words, texts)
    if len(wrong) > MOST_UNSPELLABLE * len(known) or not known:
        raise LanguageModelError(
            f"{path}: {len(wrong)} of its {len(known)} words cannot be spelled with the model's "
            f"dictionary: {missing_symbols(wrong, texts)}. Give one made of text with its symbols "
            "(upper or lower case as in training); mgf lm makes it of transcripts"
        )
    notes = []
    if wrong:
        notes.append(
            f"{path}: {len(wrong)} of {len(known)} words cannot be spelled with the model's "
            f"dictionary and are never recognized: {missing_symbols(wrong, texts)}"
        )
    unknown = [word for word in listed or () if word not in known]
    if unknown:
        notes.append(f"{path}: {len(unknown)} words of the list are unknown to it, and unlikely")
    return notes
