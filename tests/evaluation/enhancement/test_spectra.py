"""Masks act on spectra that are aligned with the features, and gains are what they should be."""

import numpy as np
import pytest
import torch

from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.evaluation.enhancement.mixtures import Mixture
from mgf_fairseq.evaluation.enhancement.spectra import Grid, spectra_of

GRID = Grid.of(STANDARD_GRID)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spectra():
    """A tone with harmonics for half a second of one, in white noise at about 10 dB."""
    time = np.arange(16000) / 16000
    tone = sum(np.sin(2 * np.pi * 250 * k * time) / k for k in range(1, 6))
    clean = (tone * (time < 0.5)).astype(np.float32)
    noise = 0.3 * clean.std() * np.random.default_rng(1).standard_normal(len(clean))
    mixture = Mixture(0, clean, clean + noise.astype(np.float32), "white", 10.0)
    return spectra_of(mixture, STANDARD_GRID.num_frames(len(clean)), GRID, CPU)


def test_a_mask_of_ones_gives_the_mixture_back_and_gains_nothing(spectra):
    whole = GRID.synthesize(spectra.spectrum)
    torch.testing.assert_close(whole, spectra.noisy, atol=1e-5, rtol=0)  # fp32 transforms
    ones = torch.ones(1, *spectra.wanted.shape)
    assert float(spectra.gains(ones)) == pytest.approx(0, abs=1e-3)


def test_no_other_mask_gains_what_the_ideal_one_does(spectra):
    ideal = spectra.ideal_mask()
    assert float(ideal.min()) >= 0 and float(ideal.max()) <= 1
    worse = torch.stack([ideal, ideal.flip(0), ideal * 0 + 0.5, 1 - ideal])
    gains = spectra.gains(worse)
    assert float(gains[0]) > 4 and float(gains[0]) > float(gains[1:].max()) + 3
    assert float(gains[2]) == pytest.approx(0, abs=1e-3)  # a gain changes no ratio


def test_frame_t_of_the_spectrum_is_around_the_middle_of_frame_t_of_the_features():
    centers = STANDARD_GRID.centers(16000)
    signal = torch.zeros(1, 16000)
    signal[0, round(centers[7])] = 1.0
    energy = GRID.analyze(signal, len(centers)).abs().square().sum(-1)[0]
    assert int(energy.argmax()) == 7
    assert float(energy[6] + energy[8]) < 1e-6 * float(energy[7])  # windows are zero one hop away
