"""Word and character error rates over a corpus, with their confidence interval and worst cases.

Pure functions on text behind ``mgf score``; decoding.py decodes the audio that they judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import editdistance
import numpy as np

from ..utils.intervals import Floats, Index, bootstrap_interval, units_of


def _letters(symbols: str) -> str:
    return symbols.replace(" ", "").replace("|", " ")


def _sentencepiece(symbols: str) -> str:
    return symbols.replace(" ", "").replace("\u2581", " ")


# How a row of dictionary symbols becomes text; the names are those of fairseq's
# `criterion.post_process` (fairseq/data/data_utils.py, post_process).
JOINERS: dict[str, Callable[[str], str]] = {
    "letter": _letters,
    "sentencepiece": _sentencepiece,
    "none": str,
}
POST_PROCESS_OF_LABELS = {"ltr": "letter", "spm": "sentencepiece"}  # by ending of the label files


def join_symbols(symbols: str, post_process: str) -> str:
    """Turn space-separated dictionary symbols into words separated by single spaces.

    Raises:
        ValueError: ``post_process`` is none of letter, sentencepiece, none.
    """
    if post_process not in JOINERS:
        raise ValueError(f"post_process={post_process!r} is not one of {', '.join(JOINERS)}")
    return " ".join(JOINERS[post_process](symbols).split())


@dataclass(frozen=True)
class Edits:
    """What turns a reference into a hypothesis."""

    substitutions: int
    insertions: int
    deletions: int

    @property
    def total(self) -> int:
        """Number of edits: the edit distance."""
        return self.substitutions + self.insertions + self.deletions


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> Edits:
    """Split the edit distance into kinds along one cheapest alignment (substitution preferred)."""
    # Each cell: (cost, substitutions, insertions, deletions) of the best path to it.
    row = [(j, 0, j, 0) for j in range(len(hypothesis) + 1)]
    for i, wanted in enumerate(reference, start=1):
        previous, row = row, [(i, 0, 0, i)]
        for j, heard in enumerate(hypothesis, start=1):
            cost, subs, ins, dels = previous[j - 1]
            differs = int(wanted != heard)
            best = (cost + differs, subs + differs, ins, dels)
            cost, subs, ins, dels = row[j - 1]
            if cost + 1 < best[0]:
                best = (cost + 1, subs, ins + 1, dels)
            cost, subs, ins, dels = previous[j]
            if cost + 1 < best[0]:
                best = (cost + 1, subs, ins, dels + 1)
            row.append(best)
    return Edits(*row[-1][1:])


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance's transcripts and its errors."""

    entry: str
    reference: str
    hypothesis: str
    words: int
    word_errors: int
    characters: int
    character_errors: int
    edits: Edits
    frames: int
    blank_frames: int


def score_utterance(
    entry: str, reference: str, hypothesis: str, frames: int = 0, blank_frames: int = 0
) -> UtteranceScore:
    """Count one utterance's errors; characters include the single space between words."""
    wanted, heard = reference.split(), hypothesis.split()
    return UtteranceScore(
        entry=entry,
        reference=reference,
        hypothesis=hypothesis,
        words=len(wanted),
        word_errors=int(editdistance.eval(wanted, heard)),
        characters=len(reference),
        character_errors=int(editdistance.eval(reference, hypothesis)),
        edits=count_edits(wanted, heard),
        frames=frames,
        blank_frames=blank_frames,
    )


@dataclass(frozen=True)
class CorpusScore:
    """Error rates in percent over a corpus: sums of errors over sums of reference units."""

    utterances: int
    words: int
    wer: float
    wer_low: float  # bounds of the 95 % bootstrap interval
    wer_high: float
    cer: float
    cer_low: float
    cer_high: float
    substitutions: int
    insertions: int
    deletions: int
    blank_ratio: float  # frames whose likeliest symbol is the blank, 0 to 1
    interval_over: str  # what the intervals are drawn over


def _percent(errors: float, units: float) -> float:
    return 100.0 * errors / units if units else float("nan")


def rate_interval(
    errors: Sequence[float], units: Sequence[int], speakers: Sequence[str] | None = None
) -> tuple[float, float]:
    """Return the 95 % percentile interval of sum(errors) / sum(units), in percent.

    Utterances are drawn with replacement (Bisani and Ney, ICASSP 2004), by speaker where these are
    known (``units_of``).
    """
    group = units_of(speakers, len(errors)).of_utterance
    counts = np.bincount(group, np.asarray(errors, dtype=np.float64))
    totals = np.bincount(group, np.asarray(units, dtype=np.float64))

    def rates(drawn: Index) -> Floats:
        below = drawn @ totals
        found: Floats = 100.0 * (drawn @ counts)[below > 0] / below[below > 0]
        return found

    return bootstrap_interval(rates, len(counts))


def score_corpus(
    scores: Sequence[UtteranceScore], speakers: Sequence[str] | None = None
) -> CorpusScore:
    """Sum the utterances up; `speakers`, one per utterance, are what intervals are drawn over.

    Raises:
        ValueError: there is no utterance, or no reference holds a word.
    """
    words = sum(score.words for score in scores)
    if not words:
        raise ValueError("no reference words to score against: the label file is empty")
    word_errors = [score.word_errors for score in scores]
    character_errors = [score.character_errors for score in scores]
    characters = [score.characters for score in scores]
    wer_low, wer_high = rate_interval(word_errors, [s.words for s in scores], speakers)
    cer_low, cer_high = rate_interval(character_errors, characters, speakers)
    frames = sum(score.frames for score in scores)
    return CorpusScore(
        utterances=len(scores),
        words=words,
        wer=_percent(sum(word_errors), words),
        wer_low=wer_low,
        wer_high=wer_high,
        cer=_percent(sum(character_errors), sum(characters)),
        cer_low=cer_low,
        cer_high=cer_high,
        substitutions=sum(score.edits.substitutions for score in scores),
        insertions=sum(score.edits.insertions for score in scores),
        deletions=sum(score.edits.deletions for score in scores),
        blank_ratio=sum(score.blank_frames for score in scores) / frames if frames else 0.0,
        interval_over=units_of(speakers, len(scores)).words,
    )


def worst(scores: Sequence[UtteranceScore], count: int) -> list[UtteranceScore]:
    """Return the utterances with the most word errors, then character errors, first."""
    wrong = [score for score in scores if score.character_errors or score.word_errors]
    return sorted(wrong, key=lambda s: (-s.word_errors, -s.character_errors, s.entry))[:count]
