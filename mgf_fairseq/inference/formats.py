"""How transcripts are written: one function per format, by name.

After transcripts.py; `mgf transcribe` writes files and standard output with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .transcripts import Transcript, as_srt


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


def _as_json(transcript: Transcript, words: bool) -> str:
    return json.dumps(described(transcript, words), ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[[Transcript, bool], str]] = {
    "txt": _as_txt,
    "srt": _as_srt,
    "json": _as_json,
}
