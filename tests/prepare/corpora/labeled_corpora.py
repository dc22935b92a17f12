"""Silence under given names, for corpora with labels."""

from pathlib import Path

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


def write_noise(path: Path, num_samples: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(num_samples).uniform(-0.1, 0.1, num_samples)
    soundfile.write(path, noise, 16000)


def run(source: Path, dest: Path, layout: str = "auto", **options: object) -> Summary:
    return prepare(PrepareOptions(source=source, dest=dest, layout=layout, **options))  # type: ignore[arg-type]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def stems(dest: Path, split: str) -> list[str]:
    return [Path(path).stem for path in read_manifest(dest / f"{split}.tsv").paths]
