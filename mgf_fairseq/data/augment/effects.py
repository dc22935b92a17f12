"""What can be done to a waveform: noise, a room, a moving gain, another speed. Pure functions.

All take and give (S,) fp32; augmenter.py draws their numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

Waveform = npt.NDArray[np.float32]


def add_noise(waveform: Waveform, noise: Waveform, start: int, snr_db: float) -> Waveform:
    """Add noise from `start` on, at a ratio of the energies of both in that part.

    Where one of them is silent there is no ratio, and nothing is added.

    Args:
        waveform: (S,).
        noise: (N,) with start + N <= S.
        start: first sample that gets noise.
        snr_db: 10 log10 of the waveform's energy over the noise's.
    """
    stop = start + len(noise)
    signal_energy, noise_energy = _energy(waveform[start:stop]), _energy(noise)
    mixed = waveform.copy()
    if signal_energy > 0 and noise_energy > 0:
        factor = np.sqrt(signal_energy / noise_energy * 10 ** (-snr_db / 10))
        mixed[start:stop] += np.float32(factor) * noise
    return mixed


def _energy(waveform: Waveform) -> float:
    return float(np.square(waveform, dtype=np.float64).sum())


def ramp_gain(waveform: Waveform, first_db: float, last_db: float) -> Waveform:
    """Change the level from one gain to another, linearly in dB."""
    decibels = np.linspace(first_db, last_db, len(waveform))
    return waveform * (10 ** (decibels / 20)).astype(np.float32)


def made_response(
    rng: np.random.Generator, sample_rate: int, rt60: float, direct_db: float
) -> Waveform:
    """Make the impulse response of a room: the direct sound, then noise that decays.

    Polack's model of late reverberation: white noise under exp(-3 ln(10) t / RT60), so that its
    energy falls by 60 dB within RT60.

    Args:
        rng: of the noise.
        sample_rate: Hz.
        rt60: reverberation time in seconds.
        direct_db: energy of the direct sound over that of the rest, in dB.

    Returns:
        (round(rt60 * sample_rate) + 1,); the direct sound is the first sample.
    """
    count = max(round(rt60 * sample_rate), 1)
    decay = np.exp(-3 * np.log(10) / rt60 * np.arange(1, count + 1) / sample_rate)
    tail = rng.standard_normal(count) * decay
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.square(tail).sum())
    return np.concatenate([[1.0], tail]).astype(np.float32)


def from_peak(response: Waveform) -> Waveform:
    """Cut what precedes the direct sound, so that a room delays nothing: frames stay in place."""
    return response[int(np.abs(response).argmax()) :]


def in_room(waveform: Waveform, response: Waveform) -> Waveform:
    """Convolve with a response, and cut to the waveform's length: the end of the echo is lost."""
    size = len(waveform) + len(response) - 1
    size = 1 << (size - 1).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    heard: Waveform = np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)
    return heard


def samples_for(length: int, percent: int) -> int:
    """How many samples give `length` at a speed of so many percent."""
    return length * percent // 100


def at_speed(waveform: Waveform, percent: int, length: int) -> Waveform:
    """Play faster (above 100 percent) or slower, and so higher or lower, for `length` samples."""
    played = np.zeros(length, np.float32)
    resampled = soxr.resample(waveform, percent, 100)[:length]
    played[: len(resampled)] = resampled  # rounding may leave the last sample without
    return played
