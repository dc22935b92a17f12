"""Language models over words: what a beam search asks them, and n-grams that answer.

arpa.py reads and writes n-grams, ngram_estimation.py makes them of transcripts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

BEGIN, END, UNKNOWN_WORD = "<s>", "</s>", "<unk>"
_LN10 = math.log(10.0)
ABSENT_LOG10 = -100.0  # of a word outside a model without <unk>; as in KenLM (lm/read_arpa.hh)
_MOST_CACHED = 1 << 20  # scores

Gram = tuple[str, ...]


class LanguageModelError(ValueError):
    """A language model that cannot be used; the message names the file, the place and the fix."""


class LanguageModel(Protocol):
    """What a search needs of a language model: words one after the other, from a state on."""

    @property
    def start(self) -> Hashable:
        """The state at the beginning of an utterance."""

    @property
    def words(self) -> Collection[str] | None:
        """The words that it knows; None where it does not list them."""

    def score(self, state: Any, word: str) -> tuple[float, Hashable]:
        """The natural log-probability of a word after a state, and the state after it."""


@dataclass
class NgramModel:
    """A back-off n-gram, as an ARPA file has it.

    The probability of a word after a history is that of the longest n-gram there is, times the
    back-off weights of the longer histories (Katz, 1987).
    """

    order: int
    log10: dict[Gram, float] = field(repr=False)  # of the last word after the others
    backoff: dict[Gram, float] = field(repr=False)  # log10, of histories; 0 where absent

    def __post_init__(self) -> None:
        self._cache: dict[tuple[Gram, str], tuple[float, Gram]] = {}

    @property
    def start(self) -> Gram:
        """The state at the beginning of an utterance."""
        return self._known_end((BEGIN,))

    @property
    def words(self) -> list[str]:
        """Its words, without those that mark begin, end and unknown words."""
        return [g[0] for g in self.log10 if len(g) == 1 and g[0] not in (BEGIN, END, UNKNOWN_WORD)]

    def score(self, state: Gram, word: str) -> tuple[float, Gram]:
        """The natural log-probability of a word after a state, and the state after it."""
        found = self._cache.get((state, word))
        if found is None:
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            known = word if (word,) in self.log10 else UNKNOWN_WORD
            history = self._known_end((*state, known))
            found = self._cache[state, word] = _LN10 * self.log10_of(state, known), history
        return found

    def log10_of(self, history: Gram, word: str) -> float:
        """The log10 probability of a word after a history."""
        penalty = 0.0
        for start in range(max(0, len(history) - self.order + 1), len(history) + 1):
            context = history[start:]
            found = self.log10.get((*context, word))
            if found is not None:
                return penalty + found
            penalty += self.backoff.get(context, 0.0)
        return penalty + ABSENT_LOG10

    def _known_end(self, gram: Gram) -> Gram:
        """The longest end of words that can be a history, so that equal futures are one state."""
        for start in range(max(0, len(gram) - self.order + 1), len(gram)):
            if gram[start:] in self.log10:
                return gram[start:]
        return ()


class KenlmModel:
    """A model that KenLM reads, for its binary files."""

    words = None

    def __init__(self, path: Path) -> None:
        try:
            import kenlm
        except ImportError:
            raise LanguageModelError(
                f"{path}: a binary file, which only kenlm reads, and it is not installed: give the "
                "ARPA file that it was made of, or pip install kenlm (it needs a C++ compiler)"
            ) from None
        try:
            self._model: Any = kenlm.Model(str(path))
        except (OSError, RuntimeError, ValueError) as error:
            raise LanguageModelError(
                f"{path}: kenlm cannot read it ({' '.join(str(error).split())[:200]}); give an "
                "ARPA file"
            ) from None
        self._state: Any = kenlm.State

    @property
    def start(self) -> Hashable:
        """The state at the beginning of an utterance."""
        state = self._state()
        self._model.BeginSentenceWrite(state)
        return state  # type: ignore[no-any-return]

    def score(self, state: Any, word: str) -> tuple[float, Hashable]:
        """The natural log-probability of a word after a state, and the state after it."""
        following = self._state()
        return _LN10 * self._model.BaseScore(state, word, following), following
