"""Folders with planted defects, and the rules that find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests, find_manifests


def _noise(seed: int, num_samples: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, num_samples).astype(np.float32)


def _write(folder: Path, split: str, rows: list[tuple[str, int]], letters: list[str]) -> Path:
    lines = [str(folder), *(f"{name}\t{count}" for name, count in rows)]
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}.tsv"
    path.write_text("\n".join(lines) + "\n")
    (folder / f"{split}.ltr").write_text("".join(f"{row}\n" for row in letters))
    (folder / "dict.ltr.txt").write_text("| 9\nA 5\nB 5\n")
    return path


def _rules(path: Path, **options: float) -> dict[str, str]:
    reports = check_manifests(find_manifests(path), Options(**options))  # type: ignore[arg-type]
    return {f.rule: f.severity for report in reports for f in report.findings}


def _single(folder: Path, audio: np.ndarray, rate: int = 16000, count: int | None = None) -> Path:
    soundfile.write(folder / "a.wav", audio, rate)
    return _write(folder, "train", [("a.wav", count or len(audio))], ["A B |"])
