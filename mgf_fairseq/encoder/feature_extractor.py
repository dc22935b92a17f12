"""The convolutional feature extractor: waveform to latents, one every 320 samples.

First stage of the encoder; its first kernels can start as band-pass filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv1d_channels_last, norm_channels
from .geometry import ConvLayer

BAND_PASS_KERNEL = 64  # samples (4 ms at 16 kHz) from which a first layer starts as a filter bank
LOWEST, HIGHEST = 60.0, 7800.0  # Hz at 16 kHz, centres of its outermost bands


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


class ConvFeatureExtractor(nn.Module):
    """Strided convolutions over the waveform, channels last throughout.

    The same parameters and outputs as fairseq's ``ConvFeatureExtractionModel``, which transposes
    twice per layer; keeping channels last needs no copy (measured in ``examples/benchmark``).
    """

    def __init__(self, layers: Sequence[ConvLayer], mode: str, bias: bool) -> None:
        super().__init__()
        if mode not in ("layer_norm", "default"):
            raise ValueError(f"extractor_mode={mode!r} is neither 'layer_norm' nor 'default'")
        self.conv_layers = nn.ModuleList()
        in_channels = 1
        for index, (channels, kernel, stride) in enumerate(layers):
            conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, bias=bias)
            init_conv_(conv.weight)
            block: list[nn.Module] = [conv, nn.Identity()]
            if mode == "layer_norm":
                # Position 2.1 is where fairseq keeps the norm, between its two transposes.
                block.append(nn.Sequential(nn.Identity(), nn.LayerNorm(channels)))
            elif index == 0:
                block.append(nn.GroupNorm(channels, channels))
            self.conv_layers.append(nn.Sequential(*block))
            in_channels = channels

    def forward(self, waveform: Tensor) -> Tensor:
        """Map (B, S) to (B, T, C)."""
        x = waveform.unsqueeze(2)  # (B, S) -> (B, S, 1)
        for block in self.conv_layers:
            x = self._layer(block, x)
        return x.contiguous()  # so already unless the norm is a group norm

    @staticmethod
    def _layer(block: nn.Module, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S', C')."""
        assert isinstance(block, nn.Sequential)
        conv = block[0]
        assert isinstance(conv, nn.Conv1d)
        x = conv1d_channels_last(x, conv.weight, conv.bias, conv.stride[0])
        if len(block) == 2:
            return F.gelu(x)
        if isinstance(block[2], nn.GroupNorm):
            x = block[2](x.transpose(1, 2).unsqueeze(2))  # (B, S', C') -> (B, C', 1, S')
            return F.gelu(x.squeeze(2).transpose(1, 2))
        assert isinstance(block[2], nn.Sequential)
        norm = block[2][1]
        assert isinstance(norm, nn.LayerNorm)
        return F.gelu(norm_channels(norm, x).to(x.dtype))  # autocast makes norms return fp32
