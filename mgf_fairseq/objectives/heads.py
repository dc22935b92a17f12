"""Decoders that reconstruct signals from frames, and heads that project or pool for a score.

The objectives own them; they read (B, T, D) levels of `EncoderOutput` and hold no loss. Their
shapes and sizes are our choice: the MGF abstract does not say.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.precision import at_least_fp32

STD_FLOOR = 1e-3  # of a pooled standard deviation: one frame has a finite gradient
_KERNEL = 3  # frames, of the convolutions before samples


def _require_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


class WaveformDecoder(nn.Module):
    """Frames back to samples: convolutions over frames, one Linear to windows, overlap-add.

    Windows of 2 * hop_length samples with a Hann shape overlap by half, and their sum is divided by
    that of the shapes, which falls to a half at either end: windows cut from a signal give the
    signal. The output is the K cells of hop_length samples that are centered on the K frames: with
    receptive field 400 and hop 320 its first sample is `400 // 2 - 320 // 2 = 40` samples after
    frame 0 begins.
    """

    def __init__(self, input_dim: int, hidden_dim: int, hop_length: int = 320) -> None:
        super().__init__()
        _require_positive(input_dim=input_dim, hidden_dim=hidden_dim)
        if hop_length < 2 or hop_length % 2:
            raise ValueError(f"hop_length must be even and positive, got {hop_length}")
        self.hop_length = hop_length
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, hidden_dim, _KERNEL, padding=_KERNEL // 2)
            for width in (input_dim, hidden_dim)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.to_samples = nn.Linear(hidden_dim, 2 * hop_length)
        # Small, not zero: SI-SDR of a zero signal has no gradient.
        nn.init.normal_(self.to_samples.weight, std=0.1 * hidden_dim**-0.5)
        nn.init.zeros_(self.to_samples.bias)
        self.register_buffer("window", torch.hann_window(2 * hop_length), persistent=False)
        self.window: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """(B, K, D) frames in a row -> (B, K * hop_length) samples, in the input's dtype."""
        hidden = frames.transpose(1, 2)  # (B, K, D) -> (B, D, K)
        for convolution in self.convolutions:
            hidden = F.gelu(convolution(hidden))
        hidden = self.norm(hidden.transpose(1, 2))  # (B, H, K) -> (B, K, H)
        return self._overlap_add(self.to_samples(hidden))  # (B, K, 2 * hop) -> (B, K * hop)

    def _overlap_add(self, windows: Tensor) -> Tensor:
        """(B, K, 2 * hop) -> (B, K * hop): Hann-weighted mean of the windows over a sample."""
        shapes = self.window.expand(1, windows.shape[1], -1)
        return self._cells(windows * self.window) / self._cells(shapes)

    def _cells(self, windows: Tensor) -> Tensor:
        """(B, K, 2 * hop) -> (B, K * hop), half a hop cut from either end of the sum."""
        first, second = torch.split(windows, self.hop_length, dim=2)
        cells = F.pad(first, (0, 0, 0, 1)) + F.pad(second, (0, 0, 1, 0))  # (B, K + 1, hop)
        half = self.hop_length // 2
        return cells.flatten(1)[:, half:-half]


class FrameDecoder(nn.Module):
    """Predicts several acoustic features of each frame: a shared trunk, then one Linear each."""

    def __init__(self, input_dim: int, dims: dict[str, int], hidden_dim: int = 0) -> None:
        """`dims` maps feature name -> bins; hidden_dim 0 means no trunk: linear prediction."""
        super().__init__()
        _require_positive(input_dim=input_dim, **dims)
        if not dims:
            raise ValueError("dims must name at least one feature, got {}")
        self.trunk: nn.Module = nn.Identity()
        if hidden_dim:
            self.trunk = nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.GELU())
        width = hidden_dim or input_dim
        self.heads = nn.ModuleDict({name: nn.Linear(width, dim) for name, dim in dims.items()})

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """(B, T, D) -> feature name -> (B, T, F); each frame on its own, padding included."""
        hidden = self.trunk(frames)
        return {name: head(hidden) for name, head in self.heads.items()}


class ProjectionHead(nn.Module):
    """Projects vectors for a score."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        _require_positive(input_dim=input_dim, output_dim=output_dim)
        self.layers = nn.Sequential(nn.Linear(input_dim, output_dim))  # layers.0 in checkpoints

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim), in the weights' dtype."""
        projected: Tensor = self.layers(vectors.to(next(self.parameters()).dtype))
        return projected


def _pooling_input(hidden: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, D) and its padding -> values, zeros on padding, and valid (B, T, 1)."""
    if padding_mask.shape != hidden.shape[:2]:
        shapes = f"{tuple(padding_mask.shape)} and {tuple(hidden.shape)}"
        raise ValueError(f"padding_mask and hidden must share (B, T): {shapes}")
    valid = ~padding_mask[..., None]
    return at_least_fp32(hidden).masked_fill(~valid, 0), valid


class MeanPooling(nn.Module):
    """The mean over valid frames."""

    def __init__(self, input_dim: int) -> None:
        super().__init__()
        _require_positive(input_dim=input_dim)
        self.output_dim = input_dim

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) True = padding -> (B, D) fp32; zeros for a row without a frame."""
        values, valid = _pooling_input(hidden, padding_mask)
        return values.sum(1) / valid.sum(1).clamp(min=1)


class AttentiveStatisticsPooling(nn.Module):
    """Weighted mean and standard deviation over valid frames (Okabe et al. 2018, eq. 3-6)."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        _require_positive(input_dim=input_dim, hidden_dim=hidden_dim)
        self.output_dim = 2 * input_dim
        self.attention = nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, 1)
        )

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        """(B, T, D), (B, T) True = padding -> (B, 2 D) fp32: means, then deviations."""
        values, valid = _pooling_input(hidden, padding_mask)
        scores = at_least_fp32(self.attention(values.to(hidden.dtype)))  # (B, T, 1)
        with torch.autocast(device_type=hidden.device.type, enabled=False):
            lowest = torch.finfo(scores.dtype).min
            weights = scores.masked_fill(~valid, lowest).softmax(1)
            mean = (weights * values).sum(1, keepdim=True)  # -> (B, 1, D)
            variance = (weights * (values - mean).square()).sum(1)  # -> (B, D)
            deviation = (variance + STD_FLOOR**2).sqrt()
        return torch.cat([mean.squeeze(1), deviation], dim=1)
