"""Draws what happens to each view, and does it: speed, then room, gain, noise.

Between the dataset, which reads and batches views, and effects.py. All draws are a function of
(seed, epoch, utterance, view), and for noise of the batch also of who else is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...acoustics.normalization import unit_variance
from ...utils.rng import generator
from . import effects
from .config import BATCH, AugmentConfig, read_settings
from .sources import Recordings

_STREAM = 1 << 31  # seeds are below it: no draw here is one of the crops'
_IN_VIEW, _IN_BATCH = 0, 1
_SHORTEST_RT60 = 0.1  # seconds
_DIRECT_DB = 0.0, 12.0  # direct sound over reverberation, of a made response
_LONGEST_RESPONSE = 1.0  # seconds


class Recording(Protocol):
    """An utterance at the training rate, in a file or in memory."""

    @property
    def num_samples(self) -> int:
        """Its length."""

    def read(self, start: int, num_samples: int, /) -> effects.Waveform:
        """Read `num_samples` samples from `start` on: (S,) fp32."""


@dataclass(frozen=True)
class View:
    """A view of an utterance, as it is heard and as it was."""

    heard: Tensor  # (S,) fp32
    clean: Tensor  # (S,) fp32, at the speed of what is heard; the same tensor where nothing is done
    start: int  # of the view, in samples of the utterance


def build_augmenter(
    config: Any, *, sample_rate: int, normalize: bool, seed: int
) -> Augmenter | None:
    """Build what changes the views of training; None where the settings change nothing.

    Args:
        config: an AugmentConfig, also as omegaconf holds it.
        sample_rate: Hz.
        normalize: whether views are brought to zero mean and unit variance.
        seed: of the training.

    Raises:
        ValueError: a value, or a manifest of noise or of rooms, cannot be used.
    """
    settings = read_settings(config)
    if not settings.active:
        return None
    return Augmenter(settings, sample_rate=sample_rate, normalize=normalize, seed=seed)


class Augmenter:
    """Changes views; only those that are trained."""

    def __init__(
        self, config: AugmentConfig, *, sample_rate: int, normalize: bool, seed: int
    ) -> None:
        """Take the settings.

        Raises:
            ValueError: a manifest of noise or of rooms cannot be used.
        """
        self.config, self.seed = config, seed
        self.sample_rate, self.normalize = sample_rate, normalize
        self.mixes = config.noise_prob > 0 and config.noise == BATCH
        self.noises = self.rooms = None
        if config.noise_prob > 0 and not self.mixes:
            self.noises = Recordings(config.noise, "task.augment.noise", sample_rate)
        if config.room_prob > 0 and config.room is not None:
            self.rooms = Recordings(config.room, "task.augment.room", sample_rate)

    @property
    def keeps_clean(self) -> bool:
        """Whether batches hold the clean views too."""
        return self.config.changes_sound and self.config.targets == "clean"

    def read(self, reader: Recording, start: int, length: int, key: Sequence[int]) -> View:
        """Read a view, and change it.

        Args:
            reader: of the utterance.
            start: of the view, in samples.
            length: of the view, which no speed changes.
            key: row, repeat and epoch.
        """
        config = self.config
        row, *when = key
        rng = generator(self.seed | _STREAM, row, _IN_VIEW, *when)
        speed, room, gain, noise = rng.random(4)
        clean = self._read(reader, start, length, rng, speed < config.speed_prob)
        heard = clean
        if room < config.room_prob:
            heard = self._in_room(heard, rng)
        if gain < config.gain_prob:
            heard = effects.ramp_gain(heard, *rng.uniform(-config.gain_db, config.gain_db, 2))
        if self.noises is not None and noise < config.noise_prob:
            heard = self._with_recording(self.noises, heard, rng)
        as_it_was = self._finished(clean)
        return View(as_it_was if heard is clean else self._finished(heard), as_it_was, start)

    def _read(
        self, reader: Recording, start: int, length: int, rng: np.random.Generator, changes: bool
    ) -> effects.Waveform:
        """(S,) at a drawn speed; a view whose speed is 1 is what the file holds."""
        most = round(100 * self.config.speed_range)
        percent = 100 + int(rng.integers(-most, most + 1)) if changes else 100
        percent = min(percent, 100 * reader.num_samples // length)  # no faster than it has samples
        if percent == 100:
            return reader.read(start, length)
        count = effects.samples_for(length, percent)
        waveform = reader.read(min(start, reader.num_samples - count), count)
        return effects.at_speed(waveform, percent, length)

    def _in_room(self, waveform: effects.Waveform, rng: np.random.Generator) -> effects.Waveform:
        if self.rooms is None:
            rt60 = rng.uniform(
                min(_SHORTEST_RT60, self.config.room_seconds), self.config.room_seconds
            )
            response = effects.made_response(rng, self.sample_rate, rt60, rng.uniform(*_DIRECT_DB))
            return effects.in_room(waveform, response)
        longest = round(_LONGEST_RESPONSE * self.sample_rate)
        drawn = self.rooms.draw(rng, longest, start_anywhere=False)
        if drawn is None or not drawn.any():
            return waveform
        return effects.in_room(waveform, effects.from_peak(drawn))

    def _with_recording(
        self, noises: Recordings, waveform: effects.Waveform, rng: np.random.Generator
    ) -> effects.Waveform:
        """Noise over the whole view; a shorter recording is repeated."""
        drawn = noises.draw(rng, len(waveform), start_anywhere=True)
        if drawn is None:
            return waveform
        whole = np.resize(drawn, len(waveform))
        return effects.add_noise(waveform, whole, 0, self._snr(rng))

    def mix(
        self, views: Sequence[Tensor], lines: Sequence[int], keys: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """Add to some views a part of another utterance of the batch, to half of them at most.

        So the utterance that is longer and alone elsewhere is the one that is meant (WavLM, Chen et
        al. 2022, section III-B). In a batch of one utterance nothing is added.

        Args:
            views: B of (S,), as they are heard so far.
            lines: which utterance each is of.
            keys: B of row, repeat and epoch.
        """
        mixed = list(views)
        for number, (view, line) in enumerate(zip(views, lines, strict=True)):
            row, *when = keys[number]
            rng = generator(self.seed | _STREAM, row, _IN_BATCH, *when)
            others = [other for other, its in enumerate(lines) if its != line]
            if rng.random() >= self.config.noise_prob or not others:
                continue
            other = views[others[int(rng.integers(len(others)))]].numpy()
            length = min(int(rng.integers(1, max(len(view) // 2, 1) + 1)), len(other))
            start = int(rng.integers(len(view) - length + 1))
            begin = int(rng.integers(len(other) - length + 1))
            noise = other[begin : begin + length]
            heard = effects.add_noise(view.numpy(), noise, start, self._snr(rng))
            mixed[number] = self._finished(heard)
        return mixed

    def _snr(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.config.min_snr, self.config.max_snr))

    def _finished(self, waveform: effects.Waveform) -> Tensor:
        view = torch.from_numpy(waveform)
        return unit_variance(view) if self.normalize else view
