"""Distance between two waveforms on one STFT grid, with its gradient worked out by hand.

`reconstruction.multi_resolution_stft_loss` adds several of these; one complex FFT less and no
stored intermediates make it several times as fast as autograd on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acoustics.spectrum import squared_magnitude


def _spectrum(signal: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """(B, S) -> (B, 1 + S // hop_length, F) complex; zero-padded, frames centered on hops."""
    half = len(window) // 2
    frames = F.pad(signal, (half, half)).unfold(1, len(window), hop_length)
    spectrum: Tensor = torch.fft.rfft(frames * window)
    return spectrum


def _overlap_add(frames: Tensor, hop_length: int, num_samples: int) -> Tensor:
    """The adjoint of framing: (B, frames, n_fft) -> (B, S); n_fft is a multiple of the hop."""
    rows, count, n_fft = frames.shape
    overlap = n_fft // hop_length
    blocks = frames.reshape(rows, count, overlap, hop_length)
    total = frames.new_zeros(rows, count + overlap - 1, hop_length)
    for k in range(overlap):
        total[:, k : k + count].add_(blocks[:, :, k])
    return total.flatten(1)[:, n_fft // 2 : n_fft // 2 + num_samples]


class _StftDistance(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        prediction: Tensor,
        target: Tensor,
        frame_valid: Tensor,
        audible: Tensor,
        window: Tensor,
        hop_length: int,
        floor: float,
    ) -> Tensor:
        spectrum = _spectrum(prediction, window, hop_length)
        parts = torch.view_as_real(spectrum).square()
        power = parts[..., 0] + parts[..., 1]
        moves = power > floor**2
        produced = power.clamp_(min=floor**2).sqrt_()
        wanted = squared_magnitude(_spectrum(target, window, hop_length))
        wanted = wanted.clamp_(min=floor**2).sqrt_()  # (B, frames, F)
        weight = frame_valid.to(produced.dtype)  # (B, frames)
        log_ratio = (produced / wanted).log_()
        error = produced - wanted
        distance = (error.square().sum(-1) * weight).sum(1).sqrt()  # (B,)
        norm = (wanted.square_().sum(-1) * weight).sum(1).sqrt()
        norm = norm.clamp(min=torch.finfo(norm.dtype).tiny)
        num_bins = weight.sum(1).clamp(min=1) * produced.shape[-1]
        log_error = (log_ratio.abs().sum(-1) * weight).sum(1) / num_bins
        if ctx.needs_input_grad[0]:
            steepness = torch.where(distance > 0, 1 / (distance * norm), 0) * audible
            slope = error.mul_(steepness[:, None, None])  # d convergence / d produced
            slope += log_ratio.sign_().div_(produced).div_(num_bins[:, None, None])
            slope = slope.div_(produced).mul_(moves).mul_(weight[..., None])
            slope[..., 1:-1].mul_(0.5)  # the inverse FFT counts these bins twice
            spectrum *= slope
            frames = torch.fft.irfft(spectrum, n=len(window), norm="forward") * window
            ctx.save_for_backward(_overlap_add(frames, hop_length, prediction.shape[1]))
        return distance / norm * audible + log_error

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (slope,) = ctx.saved_tensors
        return slope * grads[0][:, None], *(None,) * 6


def stft_distance(
    prediction: Tensor,
    target: Tensor,
    frame_valid: Tensor,
    audible: Tensor,
    n_fft: int,
    hop_length: int,
    floor: float,
) -> Tensor:
    """Spectral convergence plus mean absolute difference of log magnitudes of each row, in nats.

    Yamamoto et al. 2020, eq. 4-5. prediction, target (B, S) without autocast, gradients reach the
    prediction only; frame_valid (B, 1 + S // hop_length) bool; audible (B,) bool: where False the
    convergence is dropped. Magnitudes are scaled so that white noise with rms r has magnitude r,
    and floored; below the floor there is no gradient. Returns (B,). Raises ValueError when n_fft
    is not an even multiple of hop_length.
    """
    if hop_length < 1 or n_fft % (2 * hop_length):
        raise ValueError(f"n_fft {n_fft} must be an even multiple of hop_length {hop_length}")
    window = torch.hann_window(n_fft, dtype=prediction.dtype, device=prediction.device)
    window = window / window.square().sum().sqrt()
    result: Tensor = _StftDistance.apply(  # type: ignore[no-untyped-call]
        prediction, target, frame_valid, audible, window, hop_length, floor
    )
    return result
