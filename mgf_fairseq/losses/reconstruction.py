"""Losses of reconstruction: smooth L1, SNR, SI-SDR, and distances between spectra.

The sample and frame objectives call them; each returns a sum and its count, in fp32, and
detaches the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import in_full_precision, only_valid
from .stft import stft_distance

SILENCE_RMS = 1e-3  # 60 dB below full scale, and below a crop normalized to unit variance
SI_SDR_FLOOR = 1e-6  # relative to the target's energy: a perfect copy scores 60 dB, in SNR too
MAGNITUDE_FLOOR = 1e-3  # spectral magnitude of white noise with an rms of SILENCE_RMS
RESOLUTIONS = ((512, 128), (1024, 256), (256, 64))  # (n_fft, hop_length) in samples


@in_full_precision
def smooth_l1(
    prediction: Tensor, target: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Huber loss with its corner at 1 target unit: mean over bins, summed over valid frames.

    prediction, target (B, T, F) or (M, F); valid (B, T) or (M,) bool, None: all are. Returns
    loss_sum () and the number of valid frames (). Raises ValueError when shapes disagree.
    `torch.nn.functional.smooth_l1_loss`.
    """
    prediction, target = only_valid("smooth_l1", prediction, target, valid)
    per_frame = F.smooth_l1_loss(prediction, target, reduction="none").mean(-1)  # -> (B, T)
    if valid is None:
        return per_frame.sum(), per_frame.new_full((), per_frame.numel())
    return per_frame.sum(), valid.sum().to(per_frame.dtype)


def _centered(segment: Tensor, valid: Tensor) -> Tensor:
    """(B, S) minus its mean over valid samples, zeros elsewhere."""
    mean = segment.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return (segment - mean).masked_fill(~valid, 0)


def _audible(target: Tensor, valid: Tensor) -> Tensor:
    """(B,) bool: has valid samples whose rms about their mean is at least SILENCE_RMS."""
    return _loud(_centered(target, valid).square().sum(1), valid)


def _loud(energy: Tensor, valid: Tensor) -> Tensor:
    """(B,) energy of centered segments -> (B,) bool: is it above that of silence."""
    return energy >= SILENCE_RMS**2 * valid.sum(1).clamp(min=1)


@in_full_precision
def si_sdr(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, eq. 3).

    prediction, target (B, S), both made zero-mean over the valid samples; valid (B, S) bool.
    Energies are floored at SI_SDR_FLOOR of the target's, so that perfect, zero and constant
    predictions have finite gradients: perfect is 60 dB, zero or constant is 0 dB. A silent segment
    gives 0. Returns (B,). Raises ValueError when shapes disagree.
    """
    return _ratio(prediction, target, valid)[0]


def _ratio(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """`si_sdr` (B,), and which segments are audible (B,) bool."""
    prediction, target = only_valid("si_sdr", prediction, target, valid)
    prediction, target = _centered(prediction, valid), _centered(target, valid)
    energy = target.square().sum(1)  # (B,)
    audible = _loud(energy, valid)
    energy = energy.masked_fill(~audible, 1)
    floor = SI_SDR_FLOOR * energy
    scaled = ((prediction * target).sum(1) / energy)[:, None] * target  # (B, S)
    signal = scaled.square().sum(1) + floor
    distortion = (prediction - scaled).square().sum(1) + floor
    ratio = 10 * (torch.log10(signal) - torch.log10(distortion))
    return ratio.masked_fill(~audible, 0), audible


def si_sdr_of(original: npt.NDArray[np.float32], decoded: npt.NDArray[np.float32]) -> float:
    """`si_sdr` in dB of one decoded signal, over as many samples as both have."""
    size = min(len(original), len(decoded))
    truth, made = (torch.from_numpy(signal[:size])[None] for signal in (original, decoded))
    return float(si_sdr(made, truth, torch.ones(1, size, dtype=torch.bool)))


@in_full_precision
def si_sdr_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Negative `si_sdr` in dB summed over audible segments.

    prediction, target (B, S); valid (B, S) bool. A segment whose target's rms is below
    SILENCE_RMS has no meaningful ratio and is not counted. Returns loss_sum () and the number of
    audible segments ().
    """
    ratio, audible = _ratio(prediction, target, valid)
    return -ratio.sum(), audible.sum().to(ratio.dtype)


@in_full_precision
def snr_loss(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Negative signal-to-noise ratio in dB summed over audible segments.

    Le Roux et al. 2019, eq. 1. Unlike SI-SDR it sees sign and scale, so a prediction that is tiny
    is pulled towards the target and never away from it. Energies are floored at SI_SDR_FLOOR of
    the target's: perfect is 60 dB, zero is 0 dB. prediction, target (B, S); valid (B, S) bool. A
    segment whose target is silent, as in `si_sdr_loss`, is not counted. Returns loss_sum () and the
    number of audible segments (). Raises ValueError when shapes disagree.
    """
    prediction, target = only_valid("snr_loss", prediction, target, valid)
    audible = _audible(target, valid)
    energy = target.square().sum(1).masked_fill(~audible, 1)  # (B,)
    noise = (prediction - target).square().sum(1)
    floor = SI_SDR_FLOOR * energy
    ratio = 10 * (torch.log10(energy + floor) - torch.log10(noise + floor))
    return -ratio.masked_fill(~audible, 0).sum(), audible.sum().to(ratio.dtype)


@in_full_precision
def multi_resolution_stft_loss(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    resolutions: Sequence[tuple[int, int]] = RESOLUTIONS,
) -> tuple[Tensor, Tensor]:
    """Spectral convergence plus log-magnitude L1 in nats, averaged over resolutions.

    Yamamoto et al. 2020 (Parallel WaveGAN), eq. 4-6. prediction, target (B, S); valid (B, S) bool,
    the valid samples first; resolutions are (n_fft, hop_length) in samples. Magnitudes are floored
    at MAGNITUDE_FLOOR; a silent target drops the convergence term, a ratio to nothing, and keeps
    the other. Returns loss_sum () and the number of segments with a valid sample ().
    """
    prediction, target = only_valid("multi_resolution_stft_loss", prediction, target, valid)
    num_samples = valid.sum(1)  # (B,)
    audible = _audible(target, valid)
    loss = target.new_zeros(len(target))  # (B,)
    for n_fft, hop_length in resolutions:
        starts = torch.arange(0, valid.shape[1] + 1, hop_length, device=valid.device)
        frame_valid = starts <= num_samples[:, None]  # (B, frames)
        distance = stft_distance(
            prediction, target, frame_valid, audible, n_fft, hop_length, MAGNITUDE_FLOOR
        )
        loss = loss + distance / len(resolutions)
    counted = num_samples > 0
    return loss.sum(), counted.sum().to(loss.dtype)
