"""Acoustic features, computed on the device from the fp32 waveform.

The frame and phoneme objectives call `AcousticFeatures` under no_grad on each batch, on the
encoder's own frame grid: frame t is centered on the middle of the encoder's receptive field.

Four kinds: `lps` log power spectrum, `mel` log-mel (Slaney scale and area normalization, as
librosa), `mfcc` with first and second differences, `prosody` (log F0, voicing, log energy). Which
kinds and sizes is our choice; the MGF abstract does not say. All logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .pitch import PitchTracker
from .spectrum import (
    Fp32Constants,
    dct_matrix,
    deltas,
    frame_signal,
    mel_filters,
    squared_magnitude,
)

FEATURES = ("lps", "mel", "mfcc", "prosody")
NORMALIZATIONS = ("global", "utterance", "none")
NUM_MELS, NUM_MFCC = 80, 13
LOG_FLOOR = 1e-7  # of power and energy: digital silence gives log(1e-7) = -16.1
SILENCE_ENERGY = 1e-6  # mean square under which a frame is unvoiced, whatever surrounds it
PAUSE_ENERGY = 1e-2  # of the row's mean square: hum in pauses, 20 dB under speech, is unvoiced
STD_FLOOR = 1e-3  # of a bin over one utterance
VOICING_THRESHOLD = 0.5  # of the normalized autocorrelation's peak
LOG_F0, VOICED, LOG_ENERGY = range(3)  # columns of prosody

# (mean, standard deviation) for normalization="global", measured by this module with
# normalization="none" over 200 training utterances (every fifth, 20 readers, 42 minutes) of
# LibriSpeech, each with zero mean and unit variance. lps and mel: one pair for all
# bins, which keeps the shape of the spectrum; mfcc: per coefficient, differences have mean 0;
# prosody: log F0 over voiced frames, voicing as it is, log energy.
LPS_STATS = (-2.87, 4.46)
MEL_STATS = (-4.47, 4.44)
MFCC_MEAN = (-40.0, 19.7, 0.1, 6.7, -0.5, 0.8, -1.7, -0.2, -0.3, -0.1, -0.7, 0.0, -0.7)
MFCC_STD = (27.4, 12.4, 6.6, 5.6, 4.67, 3.85, 3.64, 3.32, 2.8, 2.66, 2.31, 2.41, 2.15)
DELTA_STD = (6.61, 3.66, 1.85, 1.53, 1.33, 1.09, 0.99, 0.93, 0.79, 0.77, 0.69, 0.7, 0.63)
DELTA2_STD = (2.91, 1.58, 0.8, 0.65, 0.58, 0.49, 0.44, 0.41, 0.35, 0.34, 0.31, 0.31, 0.28)
PROSODY_STATS = ((4.95, 0.0, -2.69), (0.411, 1.0, 3.37))


def _global_stats(name: str) -> Tensor:
    """(2, F or 1) fp64: means and standard deviations of one kind."""
    stats = {
        "lps": tuple((value,) for value in LPS_STATS),
        "mel": tuple((value,) for value in MEL_STATS),
        "mfcc": (
            (*MFCC_MEAN, *(0.0,) * (2 * NUM_MFCC)),
            (*MFCC_STD, *DELTA_STD, *DELTA2_STD),
        ),
        "prosody": PROSODY_STATS,
    }
    return torch.tensor(stats[name], dtype=torch.float64)


class AcousticFeatures(Fp32Constants):
    """Waveform -> {name: (B, T, F)} on the encoder's frame grid; fp32, no_grad, one STFT for all.

    Analysis windows of n_fft samples (default 25 ms, the receptive field) are centered on it.
    Normalization "global" subtracts and divides by fixed constants (the *_STATS above, for
    waveforms of unit variance at 16 kHz): it gives the losses comparable sizes and keeps speaker,
    pitch range and channel in the targets, which MGF wants in the representation. "utterance"
    removes exactly those: mean and deviation per row and bin over its valid frames. "none" leaves
    natural logarithms. Log F0 is 0 where unvoiced, after normalization too; voicing stays 0 or 1.
    """

    def __init__(
        self,
        names: Sequence[str] = FEATURES,
        sample_rate: int = 16000,
        hop_length: int = 320,
        receptive_field: int = 400,
        n_fft: int = 400,
        normalization: str = "global",
    ) -> None:
        super().__init__()
        unknown = sorted(set(names) - set(FEATURES))
        if unknown or not names or len(set(names)) != len(names):
            raise ValueError(f"features={tuple(names)} must be distinct, and some of {FEATURES}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be of {NORMALIZATIONS}, got {normalization!r}")
        if n_fft < 2 or n_fft % 2:
            raise ValueError(f"n_fft must be even and positive, got {n_fft}")
        self.names = tuple(names)
        sizes = {"lps": n_fft // 2 + 1, "mel": NUM_MELS, "mfcc": 3 * NUM_MFCC, "prosody": 3}
        self.dims = {name: sizes[name] for name in self.names}
        self.hop_length, self.n_fft = hop_length, n_fft
        self.center = receptive_field // 2
        self.normalization = normalization
        # What decides the values before normalization: those who agree may share them.
        self._kind = (sample_rate, hop_length, receptive_field, n_fft)
        self.window: Tensor
        self.mel_matrix: Tensor
        self.dct: Tensor
        window = torch.hann_window(n_fft, dtype=torch.float64)
        self.constant("window", window)
        self.constant("mel_matrix", mel_filters(NUM_MELS, n_fft, sample_rate))
        self.constant("dct", dct_matrix(NUM_MELS, NUM_MFCC))
        # One-sided bins count twice, except 0 Hz and Nyquist (Parseval).
        self._energy_scale = 1 / (n_fft * float(window.square().sum()))
        for name in self.names:
            self.constant(f"{name}_stats", _global_stats(name))
        self.pitch = PitchTracker(sample_rate, hop_length, self.center)

    @torch.no_grad()
    def forward(
        self,
        waveform: Tensor,
        padding_mask: Tensor,
        num_frames: int,
        frame_valid: Tensor,
        shared: dict[Any, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns each feature (B, T, F) in fp32, zeros where a frame is not valid.

        waveform (B, S); padding_mask (B, S) bool, True = padding; num_frames is T;
        frame_valid (B, T) bool, valid frames first; shared is of this batch alone: what it holds is
        not computed again, whoever put it there. Raises ValueError when shapes disagree.
        """
        raw = self.natural(waveform, padding_mask, num_frames, frame_valid, shared)
        return {name: self._normalize(name, raw[name], frame_valid) for name in self.names}

    @torch.no_grad()
    def natural(
        self,
        waveform: Tensor,
        padding_mask: Tensor,
        num_frames: int,
        frame_valid: Tensor,
        shared: dict[Any, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute as `forward`, before normalization: natural logarithms, in padding too."""
        if padding_mask.shape != waveform.shape:
            shapes = f"{tuple(padding_mask.shape)} and {tuple(waveform.shape)}"
            raise ValueError(f"padding_mask and waveform must agree: {shapes}")
        if frame_valid.shape != (len(waveform), num_frames):
            shapes = f"{tuple(frame_valid.shape)} and {(len(waveform), num_frames)}"
            raise ValueError(f"frame_valid and (B, num_frames) must agree: {shapes}")
        made = {} if shared is None else shared

        def once(name: str, make: Callable[[], Tensor]) -> Tensor:
            key = (name, *self._kind)
            if key not in made:
                made[key] = make()
            return made[key]

        with torch.autocast(device_type=waveform.device.type, enabled=False):
            return self._raw(waveform, padding_mask, frame_valid, once)

    def _raw(
        self,
        waveform: Tensor,
        padding_mask: Tensor,
        frame_valid: Tensor,
        once: Callable[[str, Callable[[], Tensor]], Tensor],
    ) -> dict[str, Tensor]:
        """All requested features in natural units, from one power spectrum, each made `once`."""

        def signal() -> Tensor:
            return once("signal", lambda: waveform.float().masked_fill(padding_mask, 0))

        def power() -> Tensor:  # (B, T, n_fft // 2 + 1)
            return once("power", lambda: self.power_spectrum(signal(), frame_valid.shape[1]))

        def mel() -> Tensor:
            return once("mel", lambda: (power() @ self.mel_matrix).clamp_(min=LOG_FLOOR).log_())

        def mfcc() -> Tensor:
            cepstrum = mel() @ self.dct
            first = deltas(cepstrum, frame_valid)
            return torch.cat([cepstrum, first, deltas(first, frame_valid)], dim=-1)

        make: dict[str, Callable[[], Tensor]] = {
            "lps": lambda: power().clamp(min=LOG_FLOOR).log_(),
            "mel": mel,
            "mfcc": mfcc,
            "prosody": lambda: self.prosody(signal(), power(), frame_valid),
        }
        return {name: once(name, make[name]) for name in self.names}

    def power_spectrum(self, signal: Tensor, num_frames: int) -> Tensor:
        """(B, S) -> (B, T, n_fft // 2 + 1) squared magnitudes of Hann-windowed frames."""
        frames = frame_signal(signal, num_frames, self.hop_length, self.n_fft, self.center)
        return squared_magnitude(torch.fft.rfft(frames * self.window))

    def prosody(self, signal: Tensor, power: Tensor, frame_valid: Tensor) -> Tensor:
        """(B, S), its (B, T, F) power, (B, T) -> (B, T, 3): log F0 in log Hz, voiced, log energy.

        Voiced is 1 where the autocorrelation peaks above VOICING_THRESHOLD and the energy is above
        SILENCE_ENERGY and PAUSE_ENERGY of the mean over the row's valid frames.
        """
        inner = power[..., 1:-1].sum(-1)
        energy = (2 * inner + power[..., 0] + power[..., -1]) * self._energy_scale  # mean square
        frequency, strength = self.pitch(signal, power.shape[1])
        count = frame_valid.sum(1, keepdim=True).clamp(min=1)
        mean_energy = energy.masked_fill(~frame_valid, 0).sum(1, keepdim=True) / count
        loud = energy > (PAUSE_ENERGY * mean_energy).clamp(min=SILENCE_ENERGY)
        voiced = (strength > VOICING_THRESHOLD) & loud
        log_f0 = frequency.log().masked_fill(~voiced, 0)
        return torch.stack([log_f0, voiced.float(), energy.clamp(min=LOG_FLOOR).log()], dim=-1)

    def statistics(self, name: str, values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation that normalization subtracts and divides by, against (B, T, F).

        values (B, T, F) are of `natural`; counted (B, T, 1) or (B, T, F) bool.
        """
        if self.normalization == "global":
            mean, std = getattr(self, f"{name}_stats")
            return mean, std
        if self.normalization == "none":
            return values.new_zeros(()), values.new_ones(())
        mean, _, std = _moments(values, counted)
        return mean, std

    def _normalize(self, name: str, values: Tensor, frame_valid: Tensor) -> Tensor:
        """(B, T, F) -> a copy that is normalized, zeros where not valid."""
        counted = frame_valid[..., None]
        if name == "prosody":
            counted = counted.repeat(1, 1, values.shape[2])
            counted[..., LOG_F0] &= values[..., VOICED] > 0.5
        if self.normalization == "global":
            mean, std = self.statistics(name, values, counted)
            normalized = values.sub(mean).div_(std)
        elif self.normalization == "utterance":
            _, centered, std = _moments(values, counted)
            normalized = centered.div_(std)
            if name == "prosody":
                normalized[..., VOICED] = values[..., VOICED]
        else:
            return values.masked_fill(~counted, 0)
        return normalized.masked_fill_(~counted, 0)


def _moments(values: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, values minus the mean, and deviation, over the counted frames of each row and bin."""
    count = counted.sum(1, keepdim=True).clamp(min=1)
    mean = values.masked_fill(~counted, 0).sum(1, keepdim=True) / count
    centered = values - mean
    variance = centered.masked_fill(~counted, 0).square().sum(1, keepdim=True) / count
    return mean, centered, variance.sqrt().clamp(min=STD_FLOOR)
