"""Fixtures of several files of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from written import make_audio, write_audio


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in "abcd":
        write_audio(tmp_path / "c" / f"{name}.wav")
    return tmp_path / "c"


@pytest.fixture
def folder(tmp_path):
    """4 speakers with 5 files each: speaker/utt.wav."""
    for speaker in "abcd":
        for number in range(5):
            make_audio(tmp_path / "in" / speaker / f"{speaker}{number}.wav", 8000 + number)
    return tmp_path / "in"


@pytest.fixture
def librispeech(tmp_path):
    """Two chapters in two subsets, in LibriSpeech's layout."""
    for subset, speaker in [("dev-clean", "84"), ("train", "7")]:
        chapter = tmp_path / "LibriSpeech" / subset / speaker / "121"
        lines = []
        for number in range(4):
            utt = f"{speaker}-121-{number:04d}"
            make_audio(chapter / f"{utt}.flac", 6000)
            lines.append(f"{utt} HELLO NUMBER {'ABCD'[number]}\n")
        (chapter / f"{speaker}-121.trans.txt").write_text("".join(lines))
    return tmp_path / "LibriSpeech"
