"""A small corpus of synthetic sounds, and the damage that a soak does to its files.

Written by soak.py before the training; nothing is downloaded, and every file can be restored.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from mgf_fairseq.data.manifest import write_manifest

SAMPLE_RATE = 16000
TRAIN, VALID = 32, 6  # utterances
SUFFIXES = (".wav", ".flac", ".ogg")
DAMAGES = ("cut short", "overwritten with noise", "removed", "made empty")


@dataclass
class Corpus:
    """Manifests in `folder`, audio in `folder`/audio, and a copy of every file in `originals`."""

    folder: Path
    originals: Path
    damaged: dict[str, str] = field(default_factory=dict)  # name of the file -> what was done to it

    @classmethod
    def write(cls, folder: Path, seed: int) -> Corpus:
        """Synthesize utterances of 2 to 4 s with a gliding pitch, and their manifests."""
        corpus = cls(folder / "data", folder / "originals")
        audio = corpus.folder / "audio"
        audio.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        for split, count in (("train", TRAIN), ("valid", VALID)):
            rows = []
            for number in range(count):
                name = f"{split}{number:02d}{SUFFIXES[number % len(SUFFIXES)]}"
                samples = int(rng.uniform(2, 4) * SAMPLE_RATE)
                soundfile.write(audio / name, _utterance(rng, samples), SAMPLE_RATE)
                rows.append((name, samples))
            write_manifest(corpus.folder / f"{split}.tsv", audio, rows)
        shutil.copytree(audio, corpus.originals, dirs_exist_ok=True)
        return corpus

    def damage(self, rng: random.Random) -> None:
        """Harm one more file of the training set in one way."""
        names = {path.name for path in self.originals.glob("train*")}
        name = rng.choice(sorted(names - self.damaged.keys()))
        path, how = self.folder / "audio" / name, rng.choice(DAMAGES)
        self.damaged[name] = how
        if how == "cut short":
            os.truncate(path, int(path.stat().st_size * rng.uniform(0.05, 0.7)))
        elif how == "overwritten with noise":
            path.write_bytes(rng.randbytes(path.stat().st_size))
        elif how == "removed":
            path.unlink()
        else:
            path.write_bytes(b"")

    def restore(self) -> None:
        """Undo all damage."""
        for name in self.damaged:
            part = self.folder / f"{name}.part"
            shutil.copyfile(self.originals / name, part)
            os.replace(part, self.folder / "audio" / name)
        self.damaged = {}


def _utterance(rng: np.random.Generator, samples: int) -> np.ndarray:
    time = np.arange(samples) / SAMPLE_RATE
    pitch = rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    tone = sum(np.sin(k * phase) * rng.uniform(0.2, 1) / k for k in range(1, 12))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * rng.uniform(2, 5) * time)
    return 0.15 * syllables * tone + 0.01 * rng.standard_normal(samples)
