"""Noise made by code, so that the enhancement task needs no recordings of noise.

Under mixtures.py, which adds it to speech. Some kinds are for learning and others for the test;
babble, which both have, is made of the corpus's own voices there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_OCTAVE_DB = 20 * math.log10(2)  # dB per octave of an amplitude proportional to frequency
_FLOOR_DB = -10.0  # pink noise under the hum, relative to it
_OCTAVES = 6
_GUSTS_HZ = 4.0  # fastest movement of the level of gusts


def tilted(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) noise whose power changes by -6 to +3 dB per octave."""
    return _colored(rng, num_samples, rng.uniform(-6, 3))


def patchy(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) noise with a level of its own, from a range of 30 dB, in each octave up to Nyquist."""
    gains = 10 ** (rng.uniform(-30, 0, _OCTAVES) / 20)

    def gain_of(frequency: Floats) -> Floats:
        octave = -np.log2(np.maximum(frequency, 2.0**-_OCTAVES)) - 1  # 0 below Nyquist
        place = np.clip(octave.astype(int), 0, _OCTAVES - 1)
        return np.asarray(gains[place], np.float64)

    return _shaped(rng, num_samples, gain_of)


def brown(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) noise that falls by 6 dB per octave."""
    return _colored(rng, num_samples, -6.0)


def hum(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) harmonics of a fundamental of 50 to 200 Hz, falling by 1 / k, over some pink noise."""
    fundamental = rng.uniform(50, 200)
    time = np.arange(num_samples) / sample_rate
    orders = np.arange(1, int(sample_rate / 2 / fundamental) + 1)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    total = np.zeros(num_samples)
    for order, phase in zip(orders.tolist(), phases.tolist(), strict=True):
        total += np.sin(2 * np.pi * order * fundamental * time + phase) / order
    floor = _unit(_colored(rng, num_samples, -3.0)) * 10 ** (_FLOOR_DB / 20)
    return _unit(total) + floor


def gusts(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) pink noise whose level moves slowly, down to nothing."""
    envelope = _shaped(rng, num_samples, lambda f: (f * sample_rate < _GUSTS_HZ).astype(float))
    return _colored(rng, num_samples, -3.0) * envelope


def band(rng: np.random.Generator, num_samples: int, sample_rate: int) -> Floats:
    """(S,) noise within one octave, whose lower edge is between 250 and 2,000 Hz."""
    low = 250 * 2 ** rng.uniform(0, 3) / sample_rate
    return _shaped(rng, num_samples, lambda f: ((f >= low) & (f < 2 * low)).astype(float))


MAKERS: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "tilted": tilted,
    "patchy": patchy,
    "hum": hum,
    "brown": brown,
    "gusts": gusts,
    "band": band,
}


def make_noise(kind: str, rng: np.random.Generator, num_samples: int, sample_rate: int) -> Samples:
    """Make (S,) noise of one of `MAKERS` with a mean square of 1."""
    return _unit(MAKERS[kind](rng, num_samples, sample_rate)).astype(np.float32)


def _colored(rng: np.random.Generator, num_samples: int, db_per_octave: float) -> Floats:
    power = db_per_octave / _OCTAVE_DB
    # The lowest bin but one keeps its level, or the slope would end in a constant.
    return _shaped(rng, num_samples, lambda f: np.maximum(f, 1 / num_samples) ** power)


def _shaped(
    rng: np.random.Generator, num_samples: int, gain_of: Callable[[Floats], Floats]
) -> Floats:
    """White noise with a gain per frequency, which is given in cycles per sample."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    gain = gain_of(np.fft.rfftfreq(num_samples).astype(np.float64))
    return np.asarray(np.fft.irfft(spectrum * gain, num_samples), np.float64)


def _unit(signal: Floats) -> Floats:
    energy = float(np.sqrt(np.mean(np.square(signal))))
    return signal / energy if energy > 0 else signal
