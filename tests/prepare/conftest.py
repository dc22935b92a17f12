"""Fixtures of several files of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepared_folders import make_audio
from written import write_audio


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
