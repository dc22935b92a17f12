"""How transcripts are written: one function per format, by name.

After transcripts.py; `mgf transcribe` writes files and standard output with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from .transcripts import Transcript, Word, cues


def described(transcript: Transcript, words: bool) -> dict[str, Any]:
    """The transcript as JSON holds it; the words only if asked for."""
    content = asdict(transcript)
    if not words:
        del content["words"]
    return content


def _as_txt(transcript: Transcript, words: bool) -> str:
    """The text alone; or a line per word: start, end, confidence, word."""
    if not words:
        return f"{transcript.text}\n"
    return "".join(
        f"{word.start:.2f}\t{word.end:.2f}\t{word.confidence:.3f}\t{word.text}\n"
        for word in transcript.words
    )


def _as_srt(transcript: Transcript, words: bool) -> str:
    return as_srt(transcript.words, one_by_one=words)


def as_srt(words: Sequence[Word], one_by_one: bool = False) -> str:
    """SubRip subtitles; with `one_by_one` a subtitle per word."""
    groups = [[word] for word in words] if one_by_one else list(cues(words))
    blocks = [
        f"{number}\n{_clock(group[0].start)} --> {_clock(group[-1].end)}\n"
        f"{' '.join(word.text for word in group)}\n"
        for number, group in enumerate(groups, start=1)
    ]
    return "\n".join(blocks)


def _clock(seconds: float) -> str:
    """Seconds -> 01:02:03,456."""
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def _as_json(transcript: Transcript, words: bool) -> str:
    return json.dumps(described(transcript, words), ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Transcript, bool], str]] = {
    "txt": _as_txt,
    "srt": _as_srt,
    "json": _as_json,
}
