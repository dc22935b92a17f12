"""Pitch: right on periodic sounds, unvoiced on noise, silence and hum."""

import math

import pytest
import torch
from sounds_16k import FIELD, HOP, RATE, num_frames, run, voice

from mgf_fairseq.acoustics import spectrum
from mgf_fairseq.acoustics.features import LOG_F0, VOICED, AcousticFeatures
from mgf_fairseq.acoustics.pitch import PitchTracker


def tone(f0, seconds=1.0):
    return torch.sin(2 * math.pi * f0 * torch.arange(int(seconds * RATE)) / RATE)


def pulse_train(f0, seconds=1.0):
    phase = torch.arange(int(seconds * RATE), dtype=torch.float64) * f0 / RATE + 0.37
    return phase.floor().diff(prepend=phase[:1].floor()).float() * 10


@pytest.mark.parametrize("f0", [62, 85, 119, 200, 283, 395])
@pytest.mark.parametrize("make", [tone, pulse_train, lambda f0: voice(1.0, f0)])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_f0_of_periodic_sounds_is_within_three_percent_in_every_frame(f0, make, scale):
    prosody = run(AcousticFeatures(("prosody",), normalization="none"), scale * make(f0)[None])
    prosody = prosody["prosody"][0]
    assert prosody[:, VOICED].all()
    errors = (prosody[:, LOG_F0] - math.log(f0)).abs()
    assert float(errors.max()) < 0.03


def test_white_noise_and_silence_are_unvoiced_with_f0_zero():
    module = AcousticFeatures(("prosody",))
    noise = run(module, torch.randn(4, 16000))["prosody"]
    # The autocorrelation of 60 independent values rarely passes 0.5; 196 frames.
    assert float(noise[..., VOICED].mean()) < 0.05
    assert not noise[..., LOG_F0][noise[..., VOICED] == 0].any()
    silence = run(module, torch.zeros(1, 16000))["prosody"]
    assert not silence[..., [LOG_F0, VOICED]].any()
    frequency, strength = module.pitch(torch.zeros(1, 16000), 49)
    assert torch.isfinite(frequency).all()
    assert not strength.any()


def test_a_sound_below_the_range_has_no_peak_and_is_unvoiced():
    got = run(AcousticFeatures(("prosody",)), tone(35)[None])["prosody"][0]
    assert not got[2:-2, VOICED].any()


def test_the_level_of_frames_that_are_not_valid_does_not_decide_voicing():
    waveform = voice(1.0, 130)
    waveform[8000:] *= 100
    valid = torch.arange(num_frames(16000))[None] < 22
    got = AcousticFeatures(("prosody",))(
        waveform[None], torch.zeros(1, 16000, dtype=torch.bool), num_frames(16000), valid
    )
    assert got["prosody"][0, :22, VOICED].all()
    assert not got["prosody"][0, 22:].any()


def test_hum_in_a_pause_is_unvoiced_and_the_speech_around_it_is_voiced():
    waveform = voice(1.0, 130)
    waveform[6000:10000] = 0.05 * tone(100)[6000:10000]  # 29 dB under it
    got = run(AcousticFeatures(("prosody",)), waveform[None])["prosody"][0, :, VOICED]
    assert not got[21:28].any()
    assert got[:15].all()


def test_the_decimated_signal_equals_a_plain_convolution():
    tracker = PitchTracker(RATE, HOP, FIELD // 2)
    waveform = torch.randn(2, 1237)
    kernel = spectrum.low_pass(900.0, RATE, 32).float()
    expected = torch.nn.functional.conv1d(waveform[:, None], kernel[None, None], None, 4, 32)[:, 0]
    got = tracker.decimate(waveform)[:, : expected.shape[1]]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_low_pass_keeps_pitch_and_removes_what_decimation_would_fold():
    gain = torch.fft.rfft(spectrum.low_pass(900.0, RATE, 32), n=RATE).abs()  # one bin per Hz
    assert gain[0].item() == pytest.approx(1)
    assert gain[:400].min() > 0.99
    assert gain[1500:].max() < 0.01  # 40 dB
