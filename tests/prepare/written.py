"""Corpora written by a test, prepared, and what came of it."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


def make_audio(
    path: Path, num_samples: int = 8000, sample_rate: int = 16000, channels: int = 1
) -> None:
    """Write noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(num_samples).uniform(-0.1, 0.1, (num_samples, channels))
    soundfile.write(path, noise, sample_rate)


def write_audio(path: Path, seconds: float = 1.0, channels: int = 1) -> None:
    """Write noise of 16 kHz."""
    make_audio(path, round(16000 * seconds), channels=channels)


def run(source: Path, dest: Path, layout: str = "auto", **options: Any) -> Summary:
    """Prepare a folder."""
    return prepare(PrepareOptions(source=source, dest=dest, layout=layout, **options))


def run_whole(source: Path, dest: Path, **options: Any) -> Summary:
    """Prepare a folder, by default without valid."""
    return run(source, dest, **{"valid_percent": 0, **options})


def rows(dest: Path, split: str = "train") -> list[str]:
    """Entries of a manifest."""
    return list(read_manifest(dest / f"{split}.tsv").paths)


def names(dest: Path, split: str) -> list[str]:
    """Entries of a manifest without folder and extension."""
    return [Path(path).stem for path in rows(dest, split)]


def lines(path: Path) -> list[str]:
    """Lines of a text file, each of which ends with a line feed."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]
