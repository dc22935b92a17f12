"""Fundamental frequency of speech by autocorrelation and dynamic programming, on the device.

`features.py` builds the prosody target from the pitch and voicing found here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .spectrum import Fp32Constants, frame_signal, low_pass, squared_magnitude

MIN_F0, MAX_F0 = 60.0, 400.0  # Hz
PITCH_RATE = 4000  # Hz: F0 is sought in a low-passed signal of about this rate
PITCH_WINDOW = 0.064  # seconds: four periods of the lowest F0
PITCH_CUTOFF = 900.0  # Hz
PITCH_TAPS = 32  # of the low-pass filter, at the full rate, either side of its centre
PITCH_BLOCK = 16  # decimated samples made at once
OCTAVE_COST = 0.05  # of autocorrelation per octave: prefers the shortest of equal periods


class PitchTracker(Fp32Constants):
    """F0 per frame from the normalised autocorrelation of the low-passed, decimated waveform.

    Boersma 1993: the autocorrelation of a windowed frame divided by that of the window; the best
    local maximum between MIN_F0 and MAX_F0, refined by a parabola. No smoothing over frames.
    """

    def __init__(self, sample_rate: int, hop_length: int, centre: int) -> None:
        super().__init__()
        self.step = math.gcd(hop_length, max(1, sample_rate // PITCH_RATE))
        self.rate = sample_rate / self.step
        self.hop_length, self.centre = hop_length // self.step, round(centre / self.step)
        self.size = 2 * round(PITCH_WINDOW * self.rate / 2)
        # One lag more either side, so that each candidate has two neighbours.
        self.lags = (math.floor(self.rate / MAX_F0) - 1, math.ceil(self.rate / MIN_F0) + 1)
        window = torch.hann_window(self.size, dtype=torch.float64)
        shape = torch.fft.irfft(torch.fft.rfft(window).abs().square())
        lags = torch.arange(self.lags[0], self.lags[1] + 1, dtype=torch.float64)
        bonus = OCTAVE_COST * torch.log2(self.rate / MIN_F0 / lags)
        self.low_pass: Tensor
        self.window: Tensor
        self.correction: Tensor
        self.bonus: Tensor
        # The filter as a matrix that makes PITCH_BLOCK decimated samples: faster than a conv1d.
        kernel, reach = (
            low_pass(PITCH_CUTOFF, sample_rate, PITCH_TAPS),
            (PITCH_BLOCK - 1) * self.step,
        )
        rows = [F.pad(kernel, (k, reach - k)) for k in range(0, reach + 1, self.step)]
        self.constant("low_pass", torch.stack(rows, dim=1))
        self.constant("window", window)
        self.constant("correction", shape[0] / shape[self.lags[0] : self.lags[1] + 1])
        self.constant("bonus", bonus[1:-1])

    def forward(self, waveform: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B, S) fp32 -> F0 in Hz (B, T) and the autocorrelation's peak (B, T), 0 without one."""
        frames = frame_signal(
            self.decimate(waveform), num_frames, self.hop_length, self.size, self.centre
        )
        frames = (frames - frames.mean(-1, keepdim=True)).mul_(self.window)
        power = squared_magnitude(torch.fft.rfft(frames))
        correlation = torch.fft.irfft(power, n=self.size)  # -> (B, T, size)
        energy = correlation[..., :1].clamp(min=torch.finfo(power.dtype).tiny)
        strength = correlation[..., self.lags[0] : self.lags[1] + 1] / energy * self.correction
        return self._best_peak(strength)

    def decimate(self, waveform: Tensor) -> Tensor:
        """(B, S) -> (B, ~S / step): every step-th sample of the low-passed waveform."""
        hop = PITCH_BLOCK * self.step
        blocks = -(-waveform.shape[1] // hop)
        padded = F.pad(waveform, (PITCH_TAPS, blocks * hop - waveform.shape[1] + PITCH_TAPS))
        slow = padded.unfold(1, len(self.low_pass), hop) @ self.low_pass
        return slow.flatten(1)  # (B, blocks, PITCH_BLOCK) -> (B, blocks * PITCH_BLOCK)

    def _best_peak(self, strength: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, lags) -> F0 and strength of the best inner local maximum."""
        before, here, after = strength[..., :-2], strength[..., 1:-1], strength[..., 2:]
        slope, curvature = before - after, before - 2 * here + after
        peak = (here > before) & (here >= after) & (here > 0)
        shift = (slope / 2 / curvature.clamp(max=-1e-9)).clamp(-0.5, 0.5)  # in lags
        height = here - slope * shift / 4  # of the parabola, or a double period between lags wins
        best = (height + self.bonus).masked_fill(~peak, -1).argmax(-1, keepdim=True)
        lag = best + self.lags[0] + 1 + shift.gather(-1, best)
        found = height.masked_fill(~peak, 0).gather(-1, best)
        return self.rate / lag[..., 0], found[..., 0]
