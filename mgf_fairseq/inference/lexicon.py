"""Which words a search may spell: a list of words as a tree of characters, or any word at all.

Between word lists and beam_search.py, which walks the tree a character at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ..data.text import read_lines
from .wer import JOINERS, POST_PROCESS_OF_LABELS, join_symbols

_SHOWN = 5  # words that an error names


class LexiconError(ValueError):
    """A word list that cannot be used; the message names the file, the word and the fix."""


class Place(Protocol):
    """Where in a word a search is: what has been spelled, and what may follow."""

    @property
    def word(self) -> str | None:
        """The word that ends here; None within a word, and before its first character."""

    def step(self, character: str) -> Place | None:
        """The place after one more character; None where no word has it."""


class Node:
    """A place in a tree of words."""

    __slots__ = ("children", "word")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.word: str | None = None

    def step(self, character: str) -> Node | None:
        """The place after one more character."""
        return self.children.get(character)


class AnyWord:
    """A place in a word of which nothing is known."""

    __slots__ = ("word",)

    def __init__(self, word: str | None = None) -> None:
        self.word = word

    def step(self, character: str) -> AnyWord:
        """The place after one more character."""
        return AnyWord((self.word or "") + character)


def tree_of(words: Iterable[str]) -> Node:
    """Build the tree of a word list; its root is the place before a word."""
    root = Node()
    for word in words:
        node = root
        for character in word:
            node = node.children.setdefault(character, Node())
        node.word = word
    return root


def read_words(path: Path) -> list[str]:
    """The distinct words of a text file, in their order; of a label file (.ltr, .spm), joined.

    Raises:
        LexiconError: there is no such file, or it holds no word.
        TextError: it is not UTF-8.
    """
    words = list(dict.fromkeys(word for line in read_transcripts(path) for word in line))
    if not words:
        raise LexiconError(f"{path}: holds no word; give a text file with one word per line")
    return words


def read_transcripts(path: Path) -> list[list[str]]:
    """The words of each line of a text file; of a label file (.ltr, .spm), joined as in training.

    Raises:
        LexiconError: there is no such file.
        TextError: it is not UTF-8.
    """
    if not path.is_file():
        raise LexiconError(f"{path}: no such file of words")
    joiner = POST_PROCESS_OF_LABELS.get(path.suffix.removeprefix("."), "none")
    return [join_symbols(line, joiner).split() for line in read_lines(path)]


def texts_of(spelled: Sequence[str], post_process: str) -> list[str]:
    """The characters that each symbol adds to a text; a space is a border between words."""
    join = JOINERS[post_process]
    return [join(f"{symbol} ") for symbol in spelled]


def unspellable(words: Iterable[str], texts: Iterable[str]) -> list[str]:
    """The words that no row of symbols spells.

    Args:
        words: what to spell.
        texts: of the symbols, as `texts_of` gives them.
    """
    spelling = _Spelling(texts)
    return [word for word in words if not spelling.has(word)]


def require_spellable(words: Sequence[str], texts: Iterable[str], place: str) -> None:
    """Refuse a word list with a word that the symbols cannot spell.

    Raises:
        LexiconError: it names the words and their symbols.
    """
    if not words:
        raise LexiconError(f"{place}: there is no word in it")
    wrong = unspellable(words, texts := list(texts))
    if wrong:
        raise LexiconError(
            f"{place}: {len(wrong)} of {len(words)} words cannot be spelled with the model's "
            f"dictionary: {missing_symbols(wrong, texts)}. Write them with its symbols (upper or "
            "lower case as in training), or remove them from the list"
        )


def missing_symbols(words: Sequence[str], texts: Iterable[str]) -> str:
    """Name words that cannot be spelled, and the characters that no symbol holds."""
    known = {character for text in texts for character in text}
    absent = dict.fromkeys(c for word in words for c in word if c not in known)
    more = ", ..." if len(words) > _SHOWN else ""
    named = ", ".join(words[:_SHOWN]) + more
    if not absent:
        return f"{named} (no pieces for them)"
    shown = " ".join(list(absent)[:20])
    return f"{named} (it has no {shown})"


class _Spelling:
    """Whether words are rows of symbols."""

    def __init__(self, texts: Iterable[str]) -> None:
        # characters -> whether borders of words are (before, after) them, for each such symbol
        self.borders: dict[str, set[tuple[bool, bool]]] = {}
        for text in texts:
            core = text.strip(" ")
            if core and " " not in core:
                borders = text.startswith(" "), text.endswith(" ")
                self.borders.setdefault(core, set()).add(borders)
        self.longest = max(map(len, self.borders), default=0)

    def has(self, word: str) -> bool:
        """Whether some row of symbols spells this word."""
        reached = [True] + [False] * len(word)
        for stop in range(1, len(word) + 1):
            reached[stop] = any(
                reached[start] and self._fits(word, start, stop)
                for start in range(max(0, stop - self.longest), stop)
            )
        return reached[-1]

    def _fits(self, word: str, start: int, stop: int) -> bool:
        """Whether a symbol spells this stretch, with borders only where the word has them."""
        found = self.borders.get(word[start:stop], ())
        return any(
            (start == 0 or not before) and (stop == len(word) or not after)
            for before, after in found
        )
