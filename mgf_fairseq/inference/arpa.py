"""ARPA files of n-grams: read with every fault named, and written whole.

The format is that of SRILM's ngram-format(5): a line per n-gram with log10 probability, words and
log10 back-off weight.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator
from pathlib import Path

from ..utils.atomic import replacing
from ..utils.progress import Progress, silent
from .language_model import (
    ABSENT_LOG10,
    BEGIN,
    END,
    Gram,
    KenlmModel,
    LanguageModel,
    LanguageModelError,
    NgramModel,
)

HEADER = "\\data\\"
_GZIP = b"\x1f\x8b"
_KENLM = b"mmap lm http://kheafield.com/code"
_EVERY = 100_000  # lines between two reports of progress


def load_language_model(path: Path, progress: Progress = silent) -> LanguageModel:
    """Read an ARPA file, compressed by gzip or not, or KenLM's binary file where kenlm is there.

    Raises:
        LanguageModelError: there is no such file, or it is broken; the message names the line.
    """
    if not path.is_file():
        raise LanguageModelError(f"{path}: no such language model; mgf lm makes one of transcripts")
    with path.open("rb") as file:
        head = file.read(len(_KENLM))
    if head == _KENLM:
        return KenlmModel(path)
    return read_arpa(path, progress)


def read_arpa(path: Path, progress: Progress = silent) -> NgramModel:
    """Read an ARPA file.

    Raises:
        LanguageModelError: it is broken; the message names the line.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as stream:
            lines = io.TextIOWrapper(stream, "utf-8")  # type: ignore[arg-type]
            return _Reader(path, lines, progress).read()
    except UnicodeDecodeError:
        raise LanguageModelError(f"{path}: is not UTF-8 text; give an ARPA file") from None
    except (OSError, EOFError) as error:
        raise LanguageModelError(f"{path}: cannot be read ({error})") from None


class _Reader:
    """Walks through an ARPA file once."""

    def __init__(self, path: Path, lines: Iterator[str], progress: Progress) -> None:
        self.path, self.lines, self.progress = path, lines, progress
        self.number = 0
        self.log10: dict[Gram, float] = {}
        self.backoff: dict[Gram, float] = {}

    def read(self) -> NgramModel:
        """Read all sections."""
        line = self._next()
        while line != HEADER:
            line = self._next(f"no line {HEADER} comes")
        counts = self._counts()
        total, order = sum(counts), len(counts)
        for length, count in enumerate(counts, start=1):
            if not count:
                continue
            line = self._skip_blank()
            if line != f"\\{length}-grams:":
                raise self._broken(f"expected \\{length}-grams:, found {line!r}")
            for _ in range(count):
                self._entry(length, order)
                if self.number % _EVERY == 0:
                    self.progress("read n-grams", len(self.log10), total)
        line = self._skip_blank()
        if line != "\\end\\":
            raise self._broken(f"expected \\end\\ after {counts[-1]} {order}-grams, found {line!r}")
        if not any((word,) in self.log10 for word in (BEGIN, END)):
            raise LanguageModelError(
                f"{self.path}: has neither {BEGIN} nor {END}; make it with sentence borders, as "
                "mgf lm and lmplz do"
            )
        return NgramModel(order, self.log10, self.backoff)

    def _counts(self) -> list[int]:
        """The lines ``ngram N=COUNT``, up to an empty one."""
        counts: list[int] = []
        while line := self._next():
            length, sign, count = line.removeprefix("ngram ").partition("=")
            if not sign or length.strip() != str(len(counts) + 1) or not count.strip().isdecimal():
                raise self._broken(f"expected 'ngram {len(counts) + 1}=COUNT', found {line!r}")
            counts.append(int(count))
        if not counts or not counts[0]:
            raise self._broken("it announces no words")
        return counts

    def _entry(self, length: int, order: int) -> None:
        line = self._next(f"there are fewer {length}-grams than announced")
        parts = line.split()
        if len(parts) not in (length + 1, length + 2) or (length == order < len(parts) - 1):
            raise self._broken(
                f"expected a probability, {length} words and a back-off weight, found {line!r}"
            )
        try:
            values = [float(parts[0]), *(float(text) for text in parts[length + 1 :])]
        except ValueError:
            raise self._broken(f"no number in its place: {line!r}") from None
        if not -math.inf <= values[0] <= 1e-4 or math.isnan(values[-1]):
            raise self._broken(f"log10 probability {parts[0]}: must not be above 0")
        gram = tuple(parts[1 : length + 1])
        if gram in self.log10:
            raise self._broken(f"the {length}-gram {' '.join(gram)!r} is there twice")
        self.log10[gram] = max(values[0], ABSENT_LOG10)
        if values[1:] and values[1]:
            self.backoff[gram] = max(values[1], ABSENT_LOG10)

    def _skip_blank(self) -> str:
        while not (line := self._next()):
            pass
        return line

    def _next(self, missing: str = "") -> str:
        """The next line."""
        self.number += 1
        for line in self.lines:
            return line.strip()
        raise self._broken(missing or "it ends too early, without \\end\\")

    def _broken(self, reason: str) -> LanguageModelError:
        return LanguageModelError(
            f"{self.path}, line {self.number}: no whole ARPA file: {reason}. Make it anew, or "
            "give another"
        )


def write_arpa(model: NgramModel, path: Path) -> list[int]:
    """Write a model under its name only when it is complete; return the number of its n-grams.

    Words in their order of code points; numbers with 7 digits after the point.
    """
    grams: list[list[Gram]] = [[] for _ in range(model.order)]
    for gram in sorted(model.log10):
        grams[len(gram) - 1].append(gram)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{HEADER}\n")
        for length, found in enumerate(grams, start=1):
            file.write(f"ngram {length}={len(found)}\n")
        for length, found in enumerate(grams, start=1):
            file.write(f"\n\\{length}-grams:\n")
            for gram in found:
                tail = f"\t{model.backoff.get(gram, 0.0):.7f}" if length < model.order else ""
                file.write(f"{model.log10[gram]:.7f}\t{' '.join(gram)}{tail}\n")
        file.write("\n\\end\\\n")
    return [len(found) for found in grams]
