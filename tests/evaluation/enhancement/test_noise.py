"""Noise made by code has the spectra that its kinds are named for."""

import numpy as np
import pytest

from mgf_fairseq.evaluation.enhancement.noise import MAKERS, make_noise

RATE = 16000


def level(noise, low, high):
    """dB of the mean power between two frequencies in Hz."""
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    return 10 * np.log10(power[(frequency >= low) & (frequency < high)].mean())


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_has_unit_power_and_is_a_function_of_its_generator(kind):
    first, again, other = (
        make_noise(kind, np.random.default_rng(seed), RATE, RATE) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and np.square(first).mean() == pytest.approx(1, rel=1e-3)


def test_brown_noise_falls_by_six_decibels_per_octave_and_a_band_is_one_octave_wide():
    brown = make_noise("brown", np.random.default_rng(3), 4 * RATE, RATE)
    # Means over 1,000 bins and more: 1 dB is over five times their deviation.
    assert level(brown, 500, 1000) - level(brown, 2000, 4000) == pytest.approx(12, abs=1)
    band = make_noise("band", np.random.default_rng(4), 4 * RATE, RATE)
    heard = np.flatnonzero(np.abs(np.fft.rfft(band)) > 1)
    assert heard[-1] / heard[0] == pytest.approx(2, rel=0.01)
