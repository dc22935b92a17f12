"""Strided 1-d convolution over channels-last signals, by whichever kernel is fastest for its shape.

The conv stack of `encoder.py` is made of these and of layer norms; values and gradients are those
of torch's own functions, speeds are measured in ``examples/benchmark``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

BAND_PASS_KERNEL = 64  # samples (4 ms at 16 kHz) from which a first layer starts as a filter bank
LOWEST, HIGHEST = 60.0, 7800.0  # Hz at 16 kHz, centres of its outermost bands
WIDE = 512  # channels from which the CPU's own weight gradient is several times slower
# Of a frame's gradient in fp16, per channel. A convolution sums as many of them as its taps and
# channels, weighted: 1,536 of He's initialisation make 14,000, and fp16 ends at 65,504.
SILENT_GRADIENT = 256.0


def init_conv_(weight: Tensor) -> None:
    """Initialise a convolution's weight (C', C, K) in place.

    He et al. 2015 as fairseq's ``ConvFeatureExtractionModel``; but a first layer long enough to
    tell bands apart (K >= BAND_PASS_KERNEL) starts as band-pass filters, in the spirit of SincNet
    (Ravanelli & Bengio 2018) and LEAF (Zeghidour et al. 2021). Our choice: in short trainings the
    frame and phoneme objectives learn faster from there (examples/RESULTS.md).
    """
    channels, inputs, kernel = weight.shape
    if inputs == 1 and kernel >= BAND_PASS_KERNEL:
        with torch.no_grad():
            weight.copy_(band_pass_filters(channels, kernel)[:, None, :])
    else:
        nn.init.kaiming_normal_(weight)


def band_pass_filters(channels: int, kernel: int) -> Tensor:
    """Cosines and sines under a Hann window, at centres even on the mel scale: (C', K) fp32.

    Rows 2 i and 2 i + 1 are the two phases of band i. Each row has the norm that He's
    initialisation gives on average, the square root of 2. At another sample rate than 16 kHz the
    centres move with it.
    """
    bands = -(-channels // 2)
    low, high = (2595 * math.log10(1 + edge / 700) for edge in (LOWEST, HIGHEST))
    mels = torch.linspace(low, high, bands, dtype=torch.float64)
    cycles = 700 * (10 ** (mels / 2595) - 1) / 16_000  # per sample
    time = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    phase = 2 * math.pi * cycles[:, None, None] * time  # (bands, 1, K)
    window = torch.hann_window(kernel + 2, periodic=False, dtype=torch.float64)[1:-1]
    rows = torch.cat([phase.cos(), phase.sin()], dim=1).flatten(0, 1)[:channels] * window
    norms = rows.norm(dim=1, keepdim=True)
    filters: Tensor = rows * (math.sqrt(2) / norms)
    return filters.float()


def conv1d_channels_last(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Map (B, S, C) to (B, S', C') without padding; weight (C', C, K), bias (C',) or None."""
    channels, kernel = weight.shape[1:]
    if channels == 1:
        # One channel is a plain matrix product over windows, which comes out channels last.
        windows = x.squeeze(2).unfold(1, kernel, stride)  # (B, S, 1) -> (B, S', K)
        return F.linear(windows, weight.squeeze(1), bias)
    x = x.transpose(1, 2).unsqueeze(2)  # (B, S, C) -> (B, C, 1, S): a view, channels last
    weight = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    wide = x.device.type == "cpu" and channels >= WIDE and len(weight) >= WIDE
    if wide and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu"):
        y: Tensor = _WideConvolution.apply(x, weight, bias, stride)  # type: ignore[no-untyped-call]
    else:
        y = F.conv2d(x, weight, bias, stride=(1, stride))
    return y.squeeze(2).transpose(1, 2)  # (B, C', 1, S') -> (B, S', C'): a view


class _WideConvolution(torch.autograd.Function):
    """The same convolution with its weight gradient as one matrix product."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.has_bias = stride, bias is not None
        return F.conv2d(x, weight, bias, stride=(1, stride))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)  # (B, C', 1, S')
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = conv2d_input(  # type: ignore[no-untyped-call]
                x.shape, weight, grad, stride=(1, ctx.stride)
            )
        rows = grad.squeeze(2).transpose(1, 2).flatten(0, 1)  # (B S', C')
        if ctx.needs_input_grad[1]:
            kernel = weight.shape[3]
            windows = x.squeeze(2).transpose(1, 2).unfold(1, kernel, ctx.stride)  # (B, S', C, K)
            # Taps before channels: whole rows of C are copied.
            windows = windows.transpose(2, 3).reshape(len(rows), -1)  # -> (B S', K C)
            product = (rows.T @ windows).view(len(weight), kernel, -1)  # (C', K, C)
            grad_weight = product.transpose(1, 2).unsqueeze(2)  # (C', C, 1, K)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None


def norm_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm of (..., C), whose gradient fp16 can hold where the signal is digital silence.

    A frame without variance divides its gradient by the root of eps: 316 times as much, and seven
    such norms over zeros make 1e17, an infinity in fp16 whatever the loss scale. In fp16, and for
    frames whose variance is below eps alone, the gradient is bounded; that of all others still
    overflows where the loss scale is too high, which is how the scaler learns. Elsewhere this is
    torch's own function. fp16 is computed in fp32, as fairseq's ``Fp32LayerNorm`` does.
    """
    if x.dtype != torch.float16:
        return norm(x)  # type: ignore[no-any-return]
    wide: Tensor = _Widened.apply(x, norm.eps)  # type: ignore[no-untyped-call]
    y = F.layer_norm(wide, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
    return y.to(norm.weight.dtype)


class _Widened(torch.autograd.Function):
    """From fp16 to fp32; back, with a bound where the variance over channels is below eps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.eps = eps
        return x.float()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        silent = x.float().var(-1, correction=0, keepdim=True) < ctx.eps
        bounded = grads[0].clamp(-SILENT_GRADIENT, SILENT_GRADIENT)
        return torch.where(silent, bounded, grads[0]).to(x.dtype), None
