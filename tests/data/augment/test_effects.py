"""Effects on a waveform against closed forms."""

import numpy as np
import pytest

from mgf_fairseq.data.augment import effects

RATE = 16000
RNG = np.random.default_rng(0)


def noise(count: int) -> np.ndarray:
    return RNG.standard_normal(count).astype(np.float32)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_has_the_ratio_asked_for_within_its_part_and_nothing_outside(snr):
    waveform, added = noise(8000), 30 * noise(3000)
    mixed = effects.add_noise(waveform, added, 1000, snr)
    rest = mixed - waveform
    assert not rest[:1000].any() and not rest[4000:].any()
    signal = np.square(waveform[1000:4000]).sum()
    # fp32 differences of numbers around 1.
    assert 10 * np.log10(signal / np.square(rest).sum()) == pytest.approx(snr, abs=1e-3)
    silent = np.zeros(3000, np.float32)
    assert (effects.add_noise(waveform, silent, 0, snr) == waveform).all()
    assert not effects.add_noise(silent, added, 0, snr).any()


def test_a_gain_moves_from_one_level_to_the_other():
    moved = effects.ramp_gain(np.ones(1001, np.float32), -20.0, 20.0)
    assert moved[[0, 500, 1000]] == pytest.approx([0.1, 1.0, 10.0], rel=1e-6)


def test_a_made_room_decays_by_60_db_within_its_time_and_has_its_direct_sound():
    response = effects.made_response(np.random.default_rng(1), RATE, rt60=0.4, direct_db=6.0)
    assert response[0] == 1
    tail = np.square(response[1:].astype(np.float64))
    assert -10 * np.log10(tail.sum()) == pytest.approx(6.0, abs=1e-3)
    # Energies of 50 ms, 300 ms apart, fall by 45 dB; each is of 800 draws, so by +- 0.6 dB.
    early, late = tail[:800].sum(), tail[4800:5600].sum()
    assert 10 * np.log10(early / late) == pytest.approx(45.0, abs=3.0)


def test_a_room_is_a_convolution_that_delays_nothing():
    waveform, response = noise(3000), noise(700)
    expected = np.convolve(waveform.astype(np.float64), response)[:3000]
    # fp32 sums of 700 products of numbers around 1.
    assert np.allclose(effects.in_room(waveform, response), expected, atol=1e-4)
    delayed = np.concatenate([np.zeros(90), [2.0], noise(50) / 10]).astype(np.float32)
    assert effects.from_peak(delayed)[0] == 2.0


@pytest.mark.parametrize("percent", [90, 97, 110])
def test_another_speed_moves_the_pitch_and_keeps_the_length(percent):
    count = effects.samples_for(RATE, percent)
    tone = np.sin(2 * np.pi * 1000 * np.arange(count) / RATE).astype(np.float32)
    played = effects.at_speed(tone, percent, RATE)
    assert len(played) == RATE
    found = np.abs(np.fft.rfft(played)).argmax()  # bins of 1 Hz
    assert abs(found - 10 * percent) <= 1
