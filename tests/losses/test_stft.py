"""The distance of spectra."""

import pytest
import torch
from tensors import randn

from mgf_fairseq.losses.stft import stft_distance


def test_a_row_without_a_valid_frame_has_distance_zero_and_an_odd_grid_is_named():
    prediction, target = randn(2, 64).requires_grad_(), randn(2, 64)
    no, yes = torch.zeros(2, 17, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    distance = stft_distance(prediction, target, no, yes, 16, 4, 1e-3)
    distance.sum().backward()
    assert distance.tolist() == [0, 0]
    assert not prediction.grad.any()
    with pytest.raises(ValueError, match=r"n_fft 12 .* hop_length 4"):
        stft_distance(prediction, target, no, yes, 12, 4, 1e-3)
