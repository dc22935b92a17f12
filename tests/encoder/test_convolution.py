"""The channels-last convolution is torch's conv1d, values and gradients, on every path."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mgf_fairseq.encoder import convolution
from mgf_fairseq.encoder.convolution import SILENT_GRADIENT, conv1d_channels_last, norm_channels
from mgf_fairseq.encoder.feature_extractor import band_pass_filters, init_conv_

# (channels in, channels out, kernel, stride); 1 channel is the waveform's own path.
SHAPES = [(1, 4, 10, 5), (4, 6, 3, 2), (6, 5, 2, 2), (4, 4, 3, 3)]


def arguments(channels: int, width: int, kernel: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    shapes = ((2, 23, channels), (width, channels, kernel), (width,))
    return tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wide", [1, 10**6], ids=["own weight gradient", "torch's"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_gradients_are_those_of_conv1d(
    shape: tuple[int, int, int, int], wide: int, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "WIDE", wide)
    *sizes, stride = shape
    inputs = list(arguments(*sizes))[: 3 if with_bias else 2]
    bias = inputs[2] if with_bias else None
    ours = conv1d_channels_last(inputs[0], inputs[1], bias, stride)
    theirs = F.conv1d(inputs[0].transpose(1, 2), inputs[1], bias, stride=stride).transpose(1, 2)
    # fp64, a few dozen products per number: far below 1e-12.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)


def test_the_wide_path_is_taken_where_it_should_be_and_skips_gradients_nobody_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolution, "WIDE", 4)
    x, weight, _ = arguments(4, 6, 3)
    y = conv1d_channels_last(x.detach(), weight, None, 2)
    names, node = set(), y.grad_fn
    while node is not None:
        names.add(type(node).__name__)
        node = node.next_functions[0][0] if node.next_functions else None
    assert "_WideConvolutionBackward" in names
    y.sum().backward()
    assert x.grad is None
    assert weight.grad is not None
    narrow = conv1d_channels_last(x[..., :3], weight[:, :3], None, 2)
    assert "_Wide" not in str(narrow.grad_fn.next_functions[0][0].next_functions)  # type: ignore[union-attr]


def test_the_output_is_contiguous_so_that_the_norm_over_channels_copies_nothing() -> None:
    for channels, width, kernel, stride in SHAPES:
        x, weight, bias = arguments(channels, width, kernel)
        assert conv1d_channels_last(x, weight, bias, stride).is_contiguous()


# ---- initialisation


def test_a_short_kernel_starts_as_in_fairseq_and_a_long_first_one_as_band_pass_filters():
    torch.manual_seed(0)
    short, deep = torch.empty(64, 1, 10), torch.empty(64, 32, 80)
    for weight in (short, deep):
        init_conv_(weight)
        fan_in = weight.shape[1] * weight.shape[2]
        # 640 and more normal draws: the deviation is within 10 % of sqrt(2 / fan_in).
        assert weight.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
    bank = torch.empty(65, 1, 160)
    init_conv_(bank)
    assert torch.equal(bank[:, 0], band_pass_filters(65, 160))
    assert torch.allclose(bank.norm(dim=2), torch.tensor(2.0).sqrt())


def test_each_band_answers_to_its_own_frequency_whatever_the_phase():
    bank = band_pass_filters(64, 400)
    time = torch.arange(400) / 16_000
    answers = []
    # The lowest, a middle and the highest centre of 32 bands even in mel between 60 and 7800 Hz.
    for band, hertz in ((0, 60.0), (15, 1744.6), (31, 7800.0)):
        for phase in (0.0, 1.0):
            tone = torch.cos(2 * torch.pi * hertz * time + phase)
            energy = (bank @ tone).view(32, 2).square().sum(dim=1)
            answers.append((int(energy.argmax()), band))
    assert all(loudest == band for loudest, band in answers)


# ---- the layer norm between convolutions


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_outside_fp16_the_norm_is_torchs_own_bit_for_bit(dtype: torch.dtype) -> None:
    norm = nn.LayerNorm(6).to(dtype)
    x = torch.randn(2, 5, 6, dtype=dtype)
    x[0, 1] = 0.0
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    gradient = torch.randn_like(x)
    ours, theirs = norm_channels(norm, first), norm(second)
    ours.backward(gradient)
    theirs.backward(gradient)
    assert torch.equal(ours, theirs) and torch.equal(first.grad, second.grad)


def test_in_fp16_only_the_gradient_of_silent_frames_is_bounded() -> None:
    norm = nn.LayerNorm(6)
    x = torch.randn(1, 4, 6)
    x[0, 1] = 0.0  # silence
    x[0, 3] = 1e-3 * x[0, 3]  # nearly
    gradient = torch.randn(1, 4, 6)
    exact = x.clone().requires_grad_()
    norm(exact).backward(gradient)

    def backward(scale: float) -> torch.Tensor:
        half = x.half().requires_grad_()
        with torch.autocast("cpu", dtype=torch.float16):
            norm_channels(norm, half).backward(gradient * scale)
        return half.grad[0]

    # fp16 has 11 bits; the sums of the norm's backward lose a few more.
    assert torch.allclose(4 * backward(0.25).float(), exact.grad[0], rtol=0.02, atol=0.01)
    loud = backward(1e6)
    assert loud[[0, 2]].isinf().any(1).all()  # how a scaler learns that its scale is too high
    assert loud[[1, 3]].abs().amax() == SILENT_GRADIENT
