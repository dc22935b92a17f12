"""Normalization of features, per utterance and global."""

import math

import numpy as np
import pytest
import torch
from sounds_16k import RATE, num_frames, run, voice

from mgf_fairseq.acoustics.features import LOG_F0, VOICED, AcousticFeatures


def test_utterance_normalization_gives_zero_mean_and_unit_deviation_over_valid_frames():
    module = AcousticFeatures(normalization="utterance")
    waveform = torch.stack([voice(1, 120), voice(1, 180)]) * torch.linspace(0.4, 1, RATE)
    got = run(module, waveform, [16000, 8000])
    for b, n in enumerate([num_frames(16000), num_frames(8000)]):
        for name in ("lps", "mel", "mfcc"):
            values = got[name][b, :n].double()
            assert float(values.mean(0).abs().max()) < 1e-4
            np.testing.assert_allclose(values.std(0, correction=0), 1, atol=1e-3)
        assert got["prosody"][b, :n, VOICED].all()  # a decision stays a decision


def test_global_normalization_is_the_same_affine_map_for_everyone():
    waveform = torch.stack([voice(1, 100), 0.1 * voice(1, 230)])
    raw = run(AcousticFeatures(normalization="none"), waveform)
    got = run(AcousticFeatures(normalization="global"), waveform)
    for name in ("lps", "mel"):
        slope = (got[name].max() - got[name].min()) / (raw[name].max() - raw[name].min())
        expected = (raw[name] - raw[name].min()) * slope + got[name].min()
        torch.testing.assert_close(got[name], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got["mfcc"][..., 0], (raw["mfcc"][..., 0] + 40.0) / 27.4)
    voiced = got["prosody"][..., VOICED] == 1
    assert voiced.float().mean() > 0.9
    low, high = (got["prosody"][b, voiced[b], LOG_F0].mean() for b in (0, 1))
    # The speakers stay apart: log(2.3) in units of 0.411.
    assert float(high - low) == pytest.approx(math.log(2.3) / 0.411, rel=0.02)
