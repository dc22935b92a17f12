"""Strided 1-d convolution over channels-last signals, by the fastest kernel for its shape.

The feature extractor is made of these and of layer norms; values and gradients equal those of
torch's own functions, and ``examples/benchmark`` measures the speed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

WIDE = 512  # channels from which the CPU's own weight gradient is several times slower
# Of a frame's gradient in fp16, per channel. A convolution sums as many of them as its taps and
# channels, weighted: 1,536 of He's initialisation make 14,000, and fp16 ends at 65,504.
SILENT_GRADIENT = 256.0


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
