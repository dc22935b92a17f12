"""Prepare folders of short recordings, and read what came of it."""

from pathlib import Path

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import prepare


def make_audio(path, num_samples=8000, sample_rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(num_samples).uniform(-0.1, 0.1, (num_samples, channels))
    soundfile.write(path, noise, sample_rate)


def run(source, dest, **options):
    return prepare(PrepareOptions(source=source, dest=dest, **options))


def names(dest, split):
    return [Path(path).stem for path in read_manifest(dest / f"{split}.tsv").paths]


def lines(path):
    return path.read_text().splitlines()
