"""The losses of frames and waveforms against slow NumPy oracles and closed forms."""

import math

import numpy as np
import pytest
import torch
from tensors import randn

from mgf_fairseq.losses.reconstruction import (
    MAGNITUDE_FLOOR,
    SI_SDR_FLOOR,
    SILENCE_RMS,
    multi_resolution_stft_loss,
    si_sdr,
    si_sdr_loss,
    si_sdr_of,
    smooth_l1,
    snr_loss,
)

# fp64 against NumPy fp64: only the order of additions differs.
EXACT = 1e-10
# fp32 against fp64: a few hundred roundings of 6e-8.
CLOSE = 1e-5


def prefix_mask(lengths, size):
    return torch.arange(size) < torch.tensor(lengths)[:, None]


def slow_smooth_l1(prediction, target, valid):
    total = 0.0
    for b, t in zip(*np.nonzero(valid), strict=True):
        errors = np.abs(prediction[b, t] - target[b, t])
        total += np.mean([0.5 * e * e if e < 1 else e - 0.5 for e in errors])
    return total, valid.sum()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, CLOSE)])
def test_smooth_l1_equals_its_oracle(dtype, tolerance):
    prediction, target = 2 * randn(3, 7, 4), torch.rand(3, 7, 4, dtype=torch.float64)
    valid = torch.rand(3, 7) < 0.6
    expected, frames = slow_smooth_l1(prediction.numpy(), target.numpy(), valid.numpy())
    loss, count = smooth_l1(prediction.to(dtype), target.to(dtype), valid)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected, rel=tolerance)
    assert count.item() == frames
    counted = smooth_l1(prediction.to(dtype)[valid], target.to(dtype)[valid])
    assert [x.item() for x in counted] == pytest.approx([expected, frames], rel=tolerance)


def test_smooth_l1_of_a_perfect_copy_is_zero():
    target = randn(2, 5, 3)
    loss, count = smooth_l1(target.clone(), target, torch.ones(2, 5, dtype=torch.bool))
    assert (loss.item(), count.item()) == (0, 10)


def test_smooth_l1_ignores_nan_and_inf_on_padding():
    valid = prefix_mask([6, 4], 6)
    prediction, target = randn(2, 6, 3), torch.rand(2, 6, 3, dtype=torch.float64)
    whole, _ = smooth_l1(prediction, target, valid)
    prediction[1, 4:], target[1, 4:] = math.nan, math.inf
    prediction.requires_grad_()
    loss, _ = smooth_l1(prediction, target, valid)
    loss.backward()
    assert loss.item() == whole.item()
    assert torch.isfinite(prediction.grad).all()
    assert not prediction.grad[1, 4:].any()


def slow_si_sdr(prediction, target, floor):
    p, t = prediction - prediction.mean(), target - target.mean()
    scaled = (p @ t) / (t @ t) * t
    error = p - scaled
    floor = floor * (t @ t)
    return 10 * np.log10((scaled @ scaled + floor) / (error @ error + floor))


def test_si_sdr_equals_its_oracle_on_valid_samples():
    lengths = [400, 250, 123]
    valid = prefix_mask(lengths, 400)
    target = randn(3, 400) + 0.3
    prediction = 0.2 * target + 0.1 * randn(3, 400) - 0.5
    got = si_sdr(prediction, target, valid)
    for b, n in enumerate(lengths):
        expected = slow_si_sdr(prediction[b, :n].numpy(), target[b, :n].numpy(), SI_SDR_FLOOR)
        assert got[b].item() == pytest.approx(expected, rel=EXACT)
    loss, count = si_sdr_loss(prediction, target, valid)
    assert loss.item() == pytest.approx(-got.sum().item(), rel=EXACT)
    assert count.item() == 3


def test_si_sdr_of_orthogonal_noise_is_the_energy_ratio_at_any_scale_and_offset():
    time = torch.arange(1600, dtype=torch.float64) / 1600
    tone, noise = torch.sin(20 * math.pi * time), torch.cos(60 * math.pi * time)
    prediction = (tone + 0.1 * noise)[None]
    valid = torch.ones(1, 1600, dtype=torch.bool)
    for scale, offset in ((1, 0), (3, 2), (-0.7, 0.1)):
        got = si_sdr(scale * prediction + offset, tone[None] + offset, valid)
        # 20 dB; the floor of 1e-6 in a distortion of 1e-2 moves it by 1e-3 dB at most.
        assert got.item() == pytest.approx(20, abs=2e-3)


def test_si_sdr_closed_forms_perfect_zero_and_constant():
    target = randn(3, 800, dtype=torch.float32)
    prediction = torch.stack([target[0], torch.zeros(800), torch.full((800,), 0.5)])
    got = si_sdr(prediction, target, torch.ones(3, 800, dtype=torch.bool))
    # The perfect copy stops at the floor: 1e-6 is 60 dB, less its rounding.
    assert got.tolist() == pytest.approx([60, 0, 0], abs=0.05)


def test_si_sdr_of_a_reported_pair_is_that_of_the_training_log_over_what_both_have():
    truth = randn(900, dtype=torch.float32)
    made = 3 * truth[:800] + 0.3 * randn(800, dtype=torch.float32) + 0.1
    logged = si_sdr(made[None], truth[None, :800], torch.ones(1, 800, dtype=torch.bool))
    assert si_sdr_of(truth.numpy(), made.numpy()) == logged.item()


def snr_of(prediction, target):
    valid = torch.ones_like(target, dtype=torch.bool)
    return np.array([-snr_loss(p[None], t[None], v[None])[0].item()
                     for p, t, v in zip(prediction, target, valid, strict=True)])  # fmt: skip


def test_snr_is_the_energy_of_the_target_over_that_of_the_error_at_any_loudness():
    target, noise = randn(2, 400) + 0.3, 0.1 * randn(2, 400)
    expected = 10 * np.log10((target.square().sum(1) / noise.square().sum(1)).numpy())
    # The floor of 1e-6 in an error of 1e-2 moves it by 1e-3 dB at most.
    assert snr_of(target + noise, target) == pytest.approx(expected, abs=2e-3)
    assert snr_of(5 * (target + noise), 5 * target) == pytest.approx(expected, abs=2e-3)


def test_snr_closed_forms_perfect_zero_half_doubled_and_of_the_other_sign():
    target = randn(1, 800, dtype=torch.float32)
    factors = torch.tensor([1, 0, 0.5, 2, -1])[:, None]
    expected = [60, 0, 20 * math.log10(2), 0, -20 * math.log10(2)]
    assert snr_of(factors * target, target.expand(5, -1)) == pytest.approx(expected, abs=1e-3)


def test_snr_pulls_a_tiny_wrong_prediction_towards_the_target_where_si_sdr_pushes_it_away():
    """What a decoder that knows no phase yet is taught: the reason for SNR in the sample scale."""
    target = randn(1, 800)
    valid = torch.ones(1, 800, dtype=torch.bool)
    towards = {}
    for function in (snr_loss, si_sdr_loss):
        prediction = (-1e-3 * target + 1e-3 * randn(1, 800)).requires_grad_()
        function(prediction, target, valid)[0].backward()
        towards[function] = float((-prediction.grad * target).sum()) > 0
    assert towards == {snr_loss: True, si_sdr_loss: False}


def slow_stft_loss(prediction, target, resolutions):
    total = 0.0
    for n_fft, hop in resolutions:
        window = np.hanning(n_fft + 1)[:-1]
        window /= np.sqrt((window**2).sum())
        magnitudes = []
        for signal in (prediction, target):
            padded = np.pad(signal, n_fft // 2)
            starts = range(0, len(signal) + 1, hop)
            spectrum = np.array([np.fft.rfft(padded[i : i + n_fft] * window) for i in starts])
            magnitudes.append(np.maximum(np.abs(spectrum), MAGNITUDE_FLOOR))
        produced, wanted = magnitudes
        audible = np.sqrt(np.mean((target - target.mean()) ** 2)) >= SILENCE_RMS
        total += np.abs(np.log(wanted) - np.log(produced)).mean()
        if audible:
            total += np.linalg.norm(wanted - produced) / np.linalg.norm(wanted)
    return total / len(resolutions)


def test_stft_loss_equals_its_oracle_on_padded_rows():
    lengths, resolutions = [1000, 700, 512, 0], ((512, 128), (1024, 256), (256, 64))
    valid = prefix_mask(lengths, 1000)
    target, prediction = randn(4, 1000), 0.5 * randn(4, 1000)
    target[2] = 0  # a silent segment keeps its log-magnitude term only
    expected = sum(
        slow_stft_loss(prediction[b, :n].numpy(), target[b, :n].numpy(), resolutions)
        for b, n in enumerate(lengths[:3])
    )
    loss, count = multi_resolution_stft_loss(prediction, target, valid)
    assert loss.item() == pytest.approx(expected, rel=1e-9)  # two FFT implementations
    assert count.item() == 3


@pytest.mark.parametrize("level", [1.0, 0.05])
def test_silence_in_the_place_of_white_noise_costs_what_the_noise_is_above_the_floor(level):
    target = level * randn(1, 40_000)
    valid = torch.ones_like(target, dtype=torch.bool)
    loss, _ = multi_resolution_stft_loss(torch.zeros_like(target), target, valid)
    # A complex Gaussian of variance 1: the mean of its log magnitude is half of Euler's constant
    # below 0. The floor is an rms of 1e-3. Spectral convergence to nothing is 1, less the floor.
    expected = math.log(level / 1e-3) - 0.2886 + 1
    assert loss.item() == pytest.approx(expected, abs=0.05)


def test_stft_loss_of_a_perfect_copy_is_zero():
    target = randn(2, 2000, dtype=torch.float32)
    valid = torch.ones(2, 2000, dtype=torch.bool)
    loss, count = multi_resolution_stft_loss(target.clone(), target, valid)
    assert (loss.item(), count.item()) == (pytest.approx(0, abs=1e-6), 2)


def test_a_prediction_below_the_floor_gets_no_gradient_from_the_stft():
    prediction = (1e-2 * MAGNITUDE_FLOOR * randn(1, 64)).requires_grad_()
    valid = torch.ones(1, 64, dtype=torch.bool)
    loss, _ = multi_resolution_stft_loss(prediction, randn(1, 64), valid, ((16, 4),))
    loss.backward()
    assert not prediction.grad.any()


WAVEFORM_LOSSES = [snr_loss, si_sdr_loss, multi_resolution_stft_loss]


@pytest.mark.parametrize("function", WAVEFORM_LOSSES)
def test_waveform_losses_are_finite_for_every_degenerate_pair(function):
    noise = randn(1600, dtype=torch.float32)
    signals = [
        torch.zeros(1600),
        torch.full((1600,), 0.7),
        noise,
        noise.clamp(-0.1, 0.1) * 10,
        noise * 1e-9,
        noise * 1e6,
    ]
    pairs = [(a, b) for a in signals for b in signals]
    prediction = torch.stack([a for a, _ in pairs]).requires_grad_()
    target = torch.stack([b for _, b in pairs])
    loss, count = function(prediction, target, torch.ones(len(pairs), 1600, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(prediction.grad).all()
    assert 0 < count.item() <= len(pairs)


@pytest.mark.parametrize("function", [snr_loss, si_sdr_loss])
def test_silent_targets_are_not_counted_by_snr_and_si_sdr(function):
    target = randn(4, 800) * torch.tensor([1.0, 0.0, 5e-4, 2e-3])[:, None]
    target[1] = 0.25  # a constant is as silent as zeros
    prediction = randn(4, 800).requires_grad_()
    loss, count = function(prediction, target, torch.ones(4, 800, dtype=torch.bool))
    loss.backward()
    assert count.item() == 2
    assert prediction.grad.abs().sum(1).gt(0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (smooth_l1, (4, 9, 3)),
        (snr_loss, (4, 900)),
        (si_sdr_loss, (4, 900)),
        (multi_resolution_stft_loss, (4, 900)),
    ],
)
class TestReconstruction:
    def test_a_padded_batch_is_the_sum_over_unpadded_singles(self, function, shape):
        size = shape[1]
        lengths = [size, size // 2, size // 3, 0]
        valid = prefix_mask(lengths, size)
        prediction, target = randn(*shape), torch.rand(*shape, dtype=torch.float64)
        loss, count = function(prediction, target, valid)
        singles = [
            function(prediction[b : b + 1, :n], target[b : b + 1, :n], valid[b : b + 1, :n])
            for b, n in enumerate(lengths[:3])
        ]
        assert loss.item() == pytest.approx(sum(s.item() for s, _ in singles), rel=EXACT)
        assert count.item() == sum(c.item() for _, c in singles)

    def test_nothing_valid_gives_a_zero_that_hangs_on_the_graph(self, function, shape):
        prediction = randn(*shape).requires_grad_()
        loss, count = function(prediction, randn(*shape), torch.zeros(shape[:2], dtype=torch.bool))
        loss.backward()
        assert (loss.item(), count.item()) == (0, 0)
        assert prediction.grad is not None
        assert not prediction.grad.any()

    def test_no_gradient_reaches_the_target(self, function, shape):
        prediction = randn(*shape).requires_grad_()
        target = torch.rand(*shape, dtype=torch.float64).requires_grad_()
        loss, _ = function(prediction, target, torch.ones(shape[:2], dtype=torch.bool))
        loss.backward()
        assert prediction.grad.any()
        assert target.grad is None

    def test_the_gradient_equals_finite_differences(self, function, shape):
        shape = (2, 7, *shape[2:]) if len(shape) == 3 else (2, 40)
        prediction = randn(*shape).requires_grad_()
        target = torch.rand(*shape, dtype=torch.float64)
        valid = prefix_mask([shape[1], shape[1] - 2], shape[1])
        extra = [((16, 4),)] if function is multi_resolution_stft_loss else []
        assert torch.autograd.gradcheck(lambda p: function(p, target, valid, *extra)[0], prediction)

    def test_autocast_and_half_inputs_do_not_lower_the_precision(self, function, shape):
        prediction, target = randn(*shape).float(), torch.rand(*shape)
        valid = torch.ones(shape[:2], dtype=torch.bool)
        plain, _ = function(prediction, target, valid)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast, _ = function(prediction, target, valid)
        half, _ = function(prediction.bfloat16(), target, valid=valid)
        assert cast.dtype == half.dtype == torch.float32
        assert cast.item() == plain.item()

    def test_disagreeing_shapes_are_named(self, function, shape):
        valid = torch.ones(shape[:2], dtype=torch.bool)
        shorter = randn(*shape)[:, :-1]
        with pytest.raises(ValueError, match=r"must agree") as error:
            function(randn(*shape), shorter, valid)
        assert str(tuple(shape)) in str(error.value)
        assert str(tuple(shorter.shape)) in str(error.value)
        with pytest.raises(ValueError, match=r"valid"):
            function(randn(*shape), randn(*shape), valid[:, :-1])
