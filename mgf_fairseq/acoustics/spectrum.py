"""Signal processing on the device: framing, power, mel filters, DCT, differences, low-pass filter.

`features.py` builds acoustic features from these; matrices are fp64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Fp32Constants(nn.Module):
    """Constants as fp32 buffers that are neither saved nor ever rounded to half precision.

    fairseq's `common.fp16` and `common.bf16` call `model.half()`, which would round a mel matrix.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, Tensor] = {}

    def constant(self, name: str, value: Tensor) -> None:
        """Registers an fp64 tensor under `name`; the buffer is its fp32 rounding."""
        self._exact[name] = value
        self.register_buffer(name, value.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Fp32Constants:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self._exact.items():
            setattr(self, name, value.float().to(getattr(self, name).device))
        return self


def frame_signal(
    signal: Tensor, num_frames: int, hop_length: int, window: int, center: int
) -> Tensor:
    """(B, S) -> (B, num_frames, window), frame t around sample t * hop_length + center.

    Samples outside the signal are zeros, so a frame depends on nothing outside its window.
    """
    start = center - window // 2
    end = start + (num_frames - 1) * hop_length + window
    padded = F.pad(signal, (-start, end - signal.shape[1]))  # a negative amount crops
    return padded.unfold(1, window, hop_length)


def squared_magnitude(spectrum: Tensor) -> Tensor:
    """Squared magnitudes of a complex tensor, which it overwrites: five times as fast as abs."""
    parts = torch.view_as_real(spectrum)
    parts.mul_(parts)
    return parts[..., 0] + parts[..., 1]


def _slaney_mel(hertz: Tensor) -> Tensor:
    """Slaney's Auditory Toolbox scale: linear under 1 kHz, logarithmic above."""
    return torch.where(
        hertz < 1000,
        hertz * 3 / 200,
        15 + torch.log(hertz.clamp(min=1000) / 1000) * (27 / math.log(6.4)),
    )


def mel_edges(num_mels: int, sample_rate: int) -> Tensor:
    """(num_mels + 2,) fp64 Hz, evenly spaced in mel: filter i is between i and i + 2."""
    nyquist = torch.tensor(sample_rate / 2, dtype=torch.float64)
    mels = torch.linspace(0, float(_slaney_mel(nyquist)), num_mels + 2, dtype=torch.float64)
    return torch.where(
        mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * (math.log(6.4) / 27))
    )


def mel_filters(num_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """(n_fft // 2 + 1, num_mels) fp64 triangles of equal area, 0 Hz to Nyquist.

    Equals `librosa.filters.mel(htk=False, norm="slaney")`, transposed.
    """
    edges = mel_edges(num_mels, sample_rate)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (peak - low), (high - bins) / (high - peak)
    return torch.minimum(rising, falling).clamp(min=0) * (2 / (high - low))


def dct_matrix(size: int, num_coefficients: int) -> Tensor:
    """(size, num_coefficients) fp64 orthonormal DCT-II: `scipy.fft.dct(type=2, norm="ortho")`."""
    place = torch.arange(size, dtype=torch.float64)[:, None] + 0.5
    order = torch.arange(num_coefficients, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * place * order) * math.sqrt(2 / size)
    matrix[:, 0] /= math.sqrt(2)
    return matrix


def deltas(values: Tensor, frame_valid: Tensor, width: int = 2) -> Tensor:
    """Regression slope per frame over width frames either side (HTK book, eq. 5.16).

    values (B, T, F); frame_valid (B, T) bool, the valid frames first. The first and last valid
    frames are repeated outwards, so padding never counts. Equals
    `librosa.feature.delta(width=2 * width + 1, mode="nearest")`. Returns (B, T, F).
    """
    num_frames = values.shape[1]
    last = (frame_valid.sum(1, keepdim=True) - 1).clamp(min=0)  # (B, 1)
    index = torch.arange(num_frames, device=values.device).clamp(max=last)  # (B, T)
    held = values.gather(1, index[..., None].expand_as(values))
    padded = F.pad(held.transpose(1, 2), (width, width), mode="replicate")
    slope = torch.zeros_like(held)
    for k in range(1, width + 1):
        ahead = padded[:, :, width + k :][:, :, :num_frames]
        behind = padded[:, :, width - k :][:, :, :num_frames]
        slope = slope + k * (ahead - behind).transpose(1, 2)
    return slope / (2 * sum(k * k for k in range(1, width + 1)))


def low_pass(cutoff: float, sample_rate: int, taps: int) -> Tensor:
    """(2 * taps + 1,) fp64 Hann-windowed sinc, cutoff in Hz, with unit gain at 0 Hz."""
    time = torch.arange(-taps, taps + 1, dtype=torch.float64)
    kernel = torch.sinc(2 * cutoff / sample_rate * time)
    kernel = kernel * torch.hann_window(2 * taps + 3, periodic=False, dtype=time.dtype)[1:-1]
    return kernel / kernel.sum()
