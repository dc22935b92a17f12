"""Spectra of mixtures on the frame grid of an upstream, masks on them, and the gain of a mask.

Under the enhancement protocol. Frame t of the spectrum has its window around the middle of what
frame t of the upstream sees, so features and masks are aligned one to one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...acoustics.spectrum import frame_signal
from ...encoder.geometry import ConvGeometry
from ...losses.reconstruction import si_sdr
from .mixtures import Mixture


@dataclass(frozen=True)
class Grid:
    """Windows of two hops, half overlapping, under the square root of a Hann window twice.

    The squares of overlapping windows add up to 1, so an all-pass mask gives the signal back
    between the middles of the first and the last window; scores are of that part.
    """

    hop_length: int  # samples between two frames
    center: int  # sample in the middle of frame 0

    @classmethod
    def of(cls, geometry: ConvGeometry) -> Grid:
        """The grid of an upstream's frames."""
        return cls(geometry.hop_length, geometry.receptive_field // 2)

    @property
    def num_bins(self) -> int:
        """F, from 0 Hz to half the sample rate."""
        return self.hop_length + 1

    def window(self, like: Tensor) -> Tensor:
        """(2 hop_length,)."""
        size = 2 * self.hop_length
        whole = torch.hann_window(size, dtype=like.dtype, device=like.device)
        root: Tensor = whole.sqrt()
        return root

    def analyze(self, signal: Tensor, num_frames: int) -> Tensor:
        """(B, S) -> (B, T, F) complex."""
        size = 2 * self.hop_length
        frames = frame_signal(signal, num_frames, self.hop_length, size, self.center)
        spectrum: Tensor = torch.fft.rfft(frames * self.window(signal))
        return spectrum

    def synthesize(self, spectrum: Tensor) -> Tensor:
        """(B, T, F) complex -> (B, (T - 1) hop_length), the samples that `middle` cuts out."""
        size = 2 * self.hop_length
        frames = torch.fft.irfft(spectrum, n=size)
        frames = frames * self.window(frames)
        first, second = frames[..., : self.hop_length], frames[..., self.hop_length :]
        signal: Tensor = (first[:, 1:] + second[:, :-1]).flatten(1)
        return signal

    def middle(self, signal: Tensor, num_frames: int) -> Tensor:
        """(B, S) -> (B, (T - 1) hop_length) between the middles of the first and last window."""
        return signal[:, self.center : self.center + (num_frames - 1) * self.hop_length]


@dataclass(frozen=True)
class Spectra:
    """A mixture on the grid, at a mean square of 1."""

    grid: Grid
    clean: Tensor  # (1, S') between the middles of the first and last window
    noisy: Tensor  # (1, S')
    spectrum: Tensor  # (1, T, F) complex, of the mixture
    wanted: Tensor  # (T, F) magnitudes, see `spectra_of`

    @property
    def magnitude(self) -> Tensor:
        """(T, F) of the mixture."""
        return self.spectrum[0].abs()

    def ideal_mask(self) -> Tensor:
        """(T, F), the mask between 0 and 1 that gives the wanted magnitudes, or comes nearest."""
        magnitude = self.magnitude
        return (self.wanted / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny)).clamp(max=1)

    def gains(self, masks: Tensor) -> Tensor:
        """SI-SDR in dB over that of the mixture itself: masks (M, T, F) -> (M,)."""
        enhanced = self.grid.synthesize(self.spectrum * masks)
        return self._ratio(enhanced) - self._ratio(self.noisy)

    def _ratio(self, signals: Tensor) -> Tensor:
        target = self.clean.expand_as(signals)
        return si_sdr(signals, target, torch.ones_like(signals, dtype=torch.bool))


def spectra_of(mixture: Mixture, num_frames: int, grid: Grid, device: torch.device) -> Spectra:
    """Analyze a mixture.

    The wanted magnitude is |S| max(cos(phase of S - phase of X), 0) for clean S and mixture X: the
    nonnegative phase-sensitive one of SUPERB-SG's enhancement (s3prl, `mask_type: NPSM`). It is the
    nearest to S that a nonnegative real mask on X can give.
    """
    scale = 1 / float((mixture.noisy.astype("float64") ** 2).mean()) ** 0.5
    clean, noisy = (
        torch.from_numpy(signal).to(device)[None] * scale
        for signal in (mixture.clean, mixture.noisy)
    )
    target, spectrum = (grid.analyze(signal, num_frames) for signal in (clean, noisy))
    projected = (target * spectrum.conj()).real
    wanted = projected / spectrum.abs().clamp(min=torch.finfo(projected.dtype).tiny)
    return Spectra(
        grid,
        grid.middle(clean, num_frames),
        grid.middle(noisy, num_frames),
        spectrum,
        wanted[0].clamp(min=0),
    )
