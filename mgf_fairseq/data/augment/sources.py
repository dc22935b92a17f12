"""Recordings of noise, or of impulse responses: drawn from a manifest, at the training rate.

Below augmenter.py; a manifest that cannot be used is refused when the training starts.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ..audio import AudioError, AudioReader
from ..entries import ManifestError
from ..manifest import read_manifest
from .effects import Waveform

logger = logging.getLogger(__name__)
_UNUSABLE = (AudioError, ManifestError, UnicodeDecodeError)  # what a row of the manifest raises
_PROBES = 8  # files whose header is read at the start


class Recordings:
    """The recordings of a manifest; one is drawn for each view."""

    def __init__(self, path: str, key: str, sample_rate: int) -> None:
        """Read the manifest, and a few of its files.

        Args:
            path: a ``.tsv`` as `mgf prepare` writes it.
            key: the setting that names it, for messages.
            sample_rate: Hz of the training.

        Raises:
            ValueError: it is missing or empty, or a file cannot be read or is of another rate.
        """
        self.sample_rate, self.key = sample_rate, key
        if Path(path).suffix != ".tsv" or not Path(path).is_file():
            raise ValueError(
                f"{key}={path} is no manifest; mgf prepare FOLDER --dest DEST writes DEST/train.tsv"
            )
        self.manifest = read_manifest(path)
        self._warned: set[int] = set()
        for line in np.unique(np.linspace(0, len(self.manifest) - 1, _PROBES).astype(int)).tolist():
            self._check(path, line)

    def _check(self, path: str, line: int) -> None:
        try:
            with AudioReader(self.manifest.entry(line), self.sample_rate) as reader:
                native = reader.native_sample_rate
        except _UNUSABLE as error:
            raise ValueError(f"{self.key}={path}: {error}") from None
        if native != self.sample_rate:
            raise ValueError(
                f"{self.key}={path}: {self.manifest.entry(line)} is of {native} Hz, the training "
                f"of {self.sample_rate}; mgf prepare FOLDER --dest DEST --convert makes copies"
            )

    def draw(self, rng: np.random.Generator, length: int, start_anywhere: bool) -> Waveform | None:
        """Read a part of one recording, at most `length` samples; None where it cannot be read.

        Args:
            rng: decides which recording, and where it starts.
            length: in samples.
            start_anywhere: not at its beginning.
        """
        line = int(rng.integers(len(self.manifest)))
        where = rng.random()
        try:
            with AudioReader(self.manifest.entry(line), self.sample_rate) as reader:
                room = max(reader.num_samples - length, 0)
                start = int(where * (room + 1)) if start_anywhere else 0
                return reader.read(start, min(length, reader.num_samples))
        except _UNUSABLE as error:
            if line not in self._warned:
                self._warned.add(line)
                logger.warning("%s: not used, views stay without it: %s", self.key, error)
            return None
