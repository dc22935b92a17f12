"""Mixtures of clean speech and noise, made anew wherever they are needed.

Between a prepared folder and the enhancement task. Everything is drawn from (split, row) alone, so
every representation, seed and process hears the same mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...data.audio import AudioReader
from ...data.augment.effects import add_noise
from ...utils.rng import generator
from ..labeled import LabeledManifest, ProbeError
from .noise import Samples, make_noise

BABBLE = "babble"
_SEED = 0
_VOICES = 4  # of babble
_TAKES = 2 * _VOICES  # utterances that are tried for them


@dataclass(frozen=True)
class MixtureConfig:
    """How many mixtures are made, and of what; the same for every representation."""

    train: int = 240  # most utterances of each split
    valid: int = 60
    test: int = 160
    seconds: float = 4.0  # longest stretch of an utterance
    least_seconds: float = 0.5  # shorter utterances are not used
    min_snr: float = 0.0  # dB; drawn evenly between the two
    max_snr: float = 15.0
    learned: tuple[str, ...] = ("tilted", "patchy", "hum", BABBLE)  # of train and valid, in turn
    unheard: tuple[str, ...] = ("brown", "gusts", "band", BABBLE)  # of test, in turn


@dataclass(frozen=True)
class Mixture:
    """A stretch of an utterance, as it was and with noise."""

    row: int  # of the manifest
    clean: Samples  # (S,)
    noisy: Samples  # (S,)
    noise: str
    snr_db: float


class Mixtures:
    """The mixtures of one split: `part` says how many, and of which noise."""

    def __init__(
        self, split: LabeledManifest, part: str, config: MixtureConfig, sample_rate: int
    ) -> None:
        """Choose the utterances, evenly over the manifest, so over its speakers.

        Raises:
            ProbeError: fewer than two are long enough.
        """
        self.split, self.part, self.config, self.sample_rate = split, part, config, sample_rate
        self.kinds = config.unheard if part == "test" else config.learned
        least = round(config.least_seconds * sample_rate)
        self.usable: npt.NDArray[np.int64] = np.flatnonzero(split.manifest.num_samples >= least)
        if len(self.usable) < 2:
            raise ProbeError(
                f"{split.data / split.name}.tsv: {len(self.usable)} utterance(s) of "
                f"{config.least_seconds:g} s or more, and task enhancement mixes at least 2: "
                "prepare more of them"
            )
        count = min(getattr(config, part), len(self.usable))
        places = np.linspace(0, len(self.usable) - 1, count).round().astype(np.int64)
        self.rows: list[int] = self.usable[places].tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def make(self, number: int) -> Mixture | None:
        """Make one of them; None where the utterance is unreadable or silent."""
        row, kind = self.rows[number], self.kinds[number % len(self.kinds)]
        part = ("train", "valid", "test").index(self.part)
        rng = generator(_SEED, row, part)
        most = round(self.config.seconds * self.sample_rate)
        clean = self._read(row, rng, most)
        snr = float(rng.uniform(self.config.min_snr, self.config.max_snr))
        if clean is None or not clean.any():
            return None
        if kind == BABBLE:
            noise = self._babble(row, rng, len(clean))
        else:
            noise = make_noise(kind, rng, len(clean), self.sample_rate)
        if not noise.any():
            return None
        return Mixture(row, clean, add_noise(clean, noise, 0, snr), kind, snr)

    def _read(self, row: int, rng: np.random.Generator, most: int) -> Samples | None:
        """At most so many samples of a row, from a drawn place on; None where it is unreadable."""
        try:
            with AudioReader(self.split.manifest.entry(row), self.sample_rate) as reader:
                count = min(most, reader.num_samples)
                start = int(rng.integers(reader.num_samples - count + 1))
                return np.asarray(reader.read(start, count), np.float32)
        except ValueError:
            return None

    def _babble(self, row: int, rng: np.random.Generator, num_samples: int) -> Samples:
        """Other voices of the split, of other speakers where they are known, equally loud."""
        others = self.usable[self.usable != row]
        speakers = self.split.labels.get("spk")
        if speakers is not None:
            strangers = [k for k in others.tolist() if speakers[k] != speakers[row]]
            others = np.array(strangers or others.tolist(), np.int64)
        total, voices = np.zeros(num_samples, np.float32), 0
        for other in rng.permutation(others)[:_TAKES].tolist():
            voice = self._read(other, rng, num_samples)
            if voice is None or not voice.any() or voices == _VOICES:
                continue
            repeated = np.resize(voice, num_samples)
            total += repeated / np.sqrt(np.mean(np.square(repeated)))
            voices += 1
        return total
