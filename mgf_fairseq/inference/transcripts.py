"""Transcripts: words with their times and confidences.

Made of a decoder's hypothesis; `mgf transcribe` prints them, `Recognizer.transcribe` returns them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .decoding import Hypothesis
from .wer import JOINERS

# A subtitle ends after so many characters (two lines of 42) or seconds, or before a pause.
CUE_CHARACTERS, CUE_SECONDS, CUE_PAUSE = 84, 7.0, 1.0


@dataclass(frozen=True)
class Word:
    """A word, and where in the recording the model puts its first and last symbol."""

    text: str
    start: float  # seconds
    end: float
    confidence: float  # 0 to 1: geometric mean over its symbols


@dataclass(frozen=True)
class Transcript:
    """What a model hears in one recording."""

    name: str
    text: str
    seconds: float  # of audio
    confidence: float | None  # geometric mean over all symbols; None where there are none
    words: list[Word]  # none from an attention decoder, which does not know where they are
    flags: list[str]  # what a reader must know: silent, too short


def words_of(
    hypothesis: Hypothesis, spelled: Sequence[str], post_process: str, frame_seconds: float
) -> list[Word]:
    """Join symbols to words, as `wer.join_symbols` does, and keep where they are.

    Args:
        hypothesis: the symbols.
        spelled: their texts.
        post_process: how symbols become words: one of `wer.JOINERS`.
        frame_seconds: seconds from frame to frame.
    """
    join = JOINERS[post_process]
    words: list[Word] = []
    letters: list[str] = []
    parts: list[int] = []  # the symbols of the word that is being read

    def close() -> None:
        if letters:
            known = [hypothesis.confidence[number] for number in parts]
            words.append(
                Word(
                    "".join(letters),
                    round(hypothesis.first[parts[0]] * frame_seconds, 3),
                    round((hypothesis.last[parts[-1]] + 1) * frame_seconds, 3),
                    geometric_mean(known),
                )
            )
        letters.clear()
        parts.clear()

    for number, symbol in enumerate(spelled):
        for character in join(f"{symbol} "):
            if character.isspace():
                close()
                continue
            letters.append(character)
            if number not in parts[-1:]:
                parts.append(number)
    close()
    return words


def geometric_mean(values: Sequence[float]) -> float:
    """Of probabilities, one or more; 0 where one is 0."""
    if min(values) <= 0.0:
        return 0.0
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def cues(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Group words to subtitles that can be read."""
    cue: list[Word] = []
    for word in words:
        long = cue and sum(len(w.text) + 1 for w in cue) + len(word.text) > CUE_CHARACTERS
        late = cue and word.end - cue[0].start > CUE_SECONDS
        if cue and (long or late or word.start - cue[-1].end > CUE_PAUSE):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue
