"""Corpora written by a test, prepared, and what came of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


def write_audio(path: Path, seconds: float = 1.0, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(16000 * seconds)
    noise = np.random.default_rng(count).uniform(-0.1, 0.1, (count, channels))
    soundfile.write(path, noise, 16000)


def run(source: Path, dest: Path, **options: object) -> Summary:
    options = {"valid_percent": 0, **options}
    return prepare(PrepareOptions(source=source, dest=dest, **options))  # type: ignore[arg-type]


def rows(dest: Path, split: str = "train") -> list[str]:
    return list(read_manifest(dest / f"{split}.tsv").paths)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]
