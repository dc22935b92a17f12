"""Acoustic targets of the frame objective, computed on the device from the fp32 waveform.

The frame objective calls `AcousticFeatures` under no_grad on each batch, on the encoder's own frame
grid: frame t is centred on the middle of the encoder's receptive field.

Four kinds: `lps` log power spectrum, `mel` log-mel (Slaney scale and area normalisation, as
librosa), `mfcc` with first and second differences, `prosody` (log F0, voicing, log energy). Which
kinds and sizes is our choice; the MGF abstract does not say. All logarithms are natural.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = ("lps", "mel", "mfcc", "prosody")
NORMALIZATIONS = ("global", "utterance", "none")
LOG_FLOOR = 1e-7  # of power and energy: digital silence gives log(1e-7) = -16.1
SILENCE_ENERGY = 1e-6  # mean square under which a frame is unvoiced: 60 dB below unit variance
STD_FLOOR = 1e-3  # of a bin over one utterance
MIN_F0, MAX_F0 = 60.0, 400.0  # Hz
PITCH_RATE = 4000  # Hz: F0 is sought in a low-passed signal of about this rate
PITCH_WINDOW = 0.064  # seconds: four periods of the lowest F0
PITCH_CUTOFF = 900.0  # Hz
PITCH_TAPS = 32  # of the low-pass filter, at the full rate, either side of its centre
PITCH_BLOCK = 16  # decimated samples made at once
OCTAVE_COST = 0.03  # of autocorrelation per octave: prefers the shortest of equal periods
VOICING_THRESHOLD = 0.5  # of the normalised autocorrelation's peak
DELTA_WIDTH = 2  # frames either side in the regression
LOG_F0, VOICED, LOG_ENERGY = range(3)  # columns of prosody

# Mean and standard deviation per kind (mfcc: per coefficient; prosody: per column, F0 over voiced
# frames and the decision as it is).
GLOBAL_STATS: dict[str, tuple[list[float], list[float]]] = {
    "lps": ([0.0], [1.0]),
    "mel": ([0.0], [1.0]),
    "mfcc": ([0.0], [1.0]),
    "prosody": ([0.0], [1.0]),
}


def frame_signal(
    signal: Tensor, num_frames: int, hop_length: int, window: int, centre: int
) -> Tensor:
    """(B, S) -> (B, num_frames, window), frame t around sample t * hop_length + centre.

    Samples outside the signal are zeros, so a frame depends on nothing outside its window.
    """
    start = centre - window // 2
    end = start + (num_frames - 1) * hop_length + window
    padded = F.pad(signal, (-start, end - signal.shape[1]))  # a negative amount crops
    return padded.unfold(1, window, hop_length)


def _power(spectrum: Tensor) -> Tensor:
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


def mel_filters(num_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """(n_fft // 2 + 1, num_mels) fp64 triangles of equal area, 0 Hz to Nyquist.

    Equals `librosa.filters.mel(htk=False, norm="slaney")`, transposed.
    """
    nyquist = torch.tensor(sample_rate / 2, dtype=torch.float64)
    mels = torch.linspace(0, float(_slaney_mel(nyquist)), num_mels + 2, dtype=torch.float64)
    edges = torch.where(
        mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * (math.log(6.4) / 27))
    )
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


def deltas(values: Tensor, frame_valid: Tensor) -> Tensor:
    """Regression slope per frame over DELTA_WIDTH frames either side (HTK book, eq. 5.16).

    values (B, T, F); frame_valid (B, T) bool, the valid frames first. The first and last valid
    frames are repeated outwards, so padding never counts. Equals
    `librosa.feature.delta(width=2 * DELTA_WIDTH + 1, mode="nearest")`. Returns (B, T, F).
    """
    num_frames = values.shape[1]
    last = (frame_valid.sum(1, keepdim=True) - 1).clamp(min=0)  # (B, 1)
    index = torch.arange(num_frames, device=values.device).clamp(max=last)  # (B, T)
    held = values.gather(1, index[..., None].expand_as(values))
    padded = F.pad(held.transpose(1, 2), (DELTA_WIDTH, DELTA_WIDTH), mode="replicate")
    slope = torch.zeros_like(held)
    for k in range(1, DELTA_WIDTH + 1):
        ahead = padded[:, :, DELTA_WIDTH + k :][:, :, :num_frames]
        behind = padded[:, :, DELTA_WIDTH - k :][:, :, :num_frames]
        slope = slope + k * (ahead - behind).transpose(1, 2)
    return slope / (2 * sum(k * k for k in range(1, DELTA_WIDTH + 1)))


def _low_pass(cutoff: float, sample_rate: int) -> Tensor:
    """(2 * PITCH_TAPS + 1,) fp64 Hann-windowed sinc with unit gain at 0 Hz."""
    time = torch.arange(-PITCH_TAPS, PITCH_TAPS + 1, dtype=torch.float64)
    kernel = torch.sinc(2 * cutoff / sample_rate * time)
    kernel = kernel * torch.hann_window(2 * PITCH_TAPS + 3, periodic=False, dtype=time.dtype)[1:-1]
    return kernel / kernel.sum()


class _Fp32Constants(nn.Module):
    """Constants as fp32 buffers that are neither saved nor ever rounded to half precision.

    fairseq's `common.fp16` and `common.bf16` call `model.half()`, which would round a mel matrix.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exact: dict[str, Tensor] = {}

    def _constant(self, name: str, value: Tensor) -> None:
        self._exact[name] = value
        self.register_buffer(name, value.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Fp32Constants:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in self._exact.items():
            setattr(self, name, value.float().to(getattr(self, name).device))
        return self


class PitchTracker(_Fp32Constants):
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
        kernel, reach = _low_pass(PITCH_CUTOFF, sample_rate), (PITCH_BLOCK - 1) * self.step
        rows = [F.pad(kernel, (k, reach - k)) for k in range(0, reach + 1, self.step)]
        self._constant("low_pass", torch.stack(rows, dim=1))
        self._constant("window", window)
        self._constant("correction", shape[0] / shape[self.lags[0] : self.lags[1] + 1])
        self._constant("bonus", bonus[1:-1])

    def forward(self, waveform: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B, S) fp32 -> F0 in Hz (B, T) and the autocorrelation's peak (B, T), 0 without one."""
        frames = frame_signal(
            self.decimate(waveform), num_frames, self.hop_length, self.size, self.centre
        )
        frames = (frames - frames.mean(-1, keepdim=True)).mul_(self.window)
        power = _power(torch.fft.rfft(frames))
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
        peak = (here > before) & (here >= after) & (here > 0)
        best = (here + self.bonus).masked_fill(~peak, -1).argmax(-1, keepdim=True)
        y0, y1, y2 = (part.gather(-1, best)[..., 0] for part in (before, here, after))
        curvature = (y0 - 2 * y1 + y2).clamp(max=-1e-9)
        shift = (0.5 * (y0 - y2) / curvature).clamp(-0.5, 0.5)
        frequency = self.rate / (best[..., 0] + self.lags[0] + 1 + shift)
        return frequency, y1 * peak.gather(-1, best)[..., 0]


class AcousticFeatures(_Fp32Constants):
    """Waveform -> {name: (B, T, F)} on the encoder's frame grid; fp32, no_grad, one STFT for all.

    Analysis windows of n_fft samples (default 25 ms, the receptive field) are centred on it.
    Normalisation "global" subtracts and divides by fixed constants (GLOBAL_STATS, measured for
    waveforms of unit variance at 16 kHz): it gives the losses comparable sizes and keeps speaker,
    pitch range and channel in the targets, which MGF wants in the representation. "utterance"
    removes exactly those: mean and deviation per row and bin over its valid frames. "none" leaves
    natural logarithms. Log F0 is 0 where unvoiced, after normalisation too; voicing stays 0 or 1.
    """

    def __init__(
        self,
        names: Sequence[str] = FEATURES,
        sample_rate: int = 16000,
        hop_length: int = 320,
        receptive_field: int = 400,
        n_fft: int = 400,
        num_mels: int = 80,
        num_mfcc: int = 13,
        normalization: str = "global",
    ) -> None:
        super().__init__()
        unknown = sorted(set(names) - set(FEATURES))
        if unknown or not names or len(set(names)) != len(names):
            raise ValueError(f"names must be distinct and of {FEATURES}, got {tuple(names)}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be of {NORMALIZATIONS}, got {normalization!r}")
        if n_fft < 2 or n_fft % 2:
            raise ValueError(f"n_fft must be even and positive, got {n_fft}")
        if not 0 < num_mfcc <= num_mels:
            raise ValueError(f"num_mfcc must be in 1..num_mels={num_mels}, got {num_mfcc}")
        self.names = tuple(names)
        sizes = {"lps": n_fft // 2 + 1, "mel": num_mels, "mfcc": 3 * num_mfcc, "prosody": 3}
        self.dims = {name: sizes[name] for name in self.names}
        self.hop_length, self.n_fft = hop_length, n_fft
        self.centre = receptive_field // 2
        self.normalization = normalization
        self.window: Tensor
        self.mel_matrix: Tensor
        self.dct: Tensor
        window = torch.hann_window(n_fft, dtype=torch.float64)
        self._constant("window", window)
        self._constant("mel_matrix", mel_filters(num_mels, n_fft, sample_rate))
        self._constant("dct", dct_matrix(num_mels, num_mfcc))
        # One-sided bins count twice, except 0 Hz and Nyquist (Parseval).
        self._energy_scale = 1 / (n_fft * float(window.square().sum()))
        self.pitch = PitchTracker(sample_rate, hop_length, self.centre)

    @torch.no_grad()
    def forward(
        self, waveform: Tensor, padding_mask: Tensor, num_frames: int, frame_valid: Tensor
    ) -> dict[str, Tensor]:
        """Returns each feature (B, T, F) in fp32, zeros where a frame is not valid.

        waveform (B, S); padding_mask (B, S) bool, True = padding; num_frames is T;
        frame_valid (B, T) bool, valid frames first. Raises ValueError when shapes disagree.
        """
        if padding_mask.shape != waveform.shape:
            shapes = f"{tuple(padding_mask.shape)} and {tuple(waveform.shape)}"
            raise ValueError(f"padding_mask and waveform must agree: {shapes}")
        if frame_valid.shape != (len(waveform), num_frames):
            shapes = f"{tuple(frame_valid.shape)} and {(len(waveform), num_frames)}"
            raise ValueError(f"frame_valid and (B, num_frames) must agree: {shapes}")
        with torch.autocast(device_type=waveform.device.type, enabled=False):
            signal = waveform.float().masked_fill(padding_mask, 0)
            raw = self._raw(signal, num_frames, frame_valid)
            return {name: self._normalize(name, raw[name], frame_valid) for name in self.names}

    def _raw(self, signal: Tensor, num_frames: int, frame_valid: Tensor) -> dict[str, Tensor]:
        """All requested features in natural units, from one power spectrum."""
        power = self.power_spectrum(signal, num_frames)  # (B, T, n_fft // 2 + 1)
        raw: dict[str, Tensor] = {}
        if "lps" in self.names:
            raw["lps"] = power.clamp(min=LOG_FLOOR).log()
        if "mel" in self.names or "mfcc" in self.names:
            raw["mel"] = (power @ self.mel_matrix).clamp(min=LOG_FLOOR).log()
        if "mfcc" in self.names:
            cepstrum = raw["mel"] @ self.dct
            first = deltas(cepstrum, frame_valid)
            raw["mfcc"] = torch.cat([cepstrum, first, deltas(first, frame_valid)], dim=-1)
        if "prosody" in self.names:
            raw["prosody"] = self.prosody(signal, power)
        return raw

    def power_spectrum(self, signal: Tensor, num_frames: int) -> Tensor:
        """(B, S) -> (B, T, n_fft // 2 + 1) squared magnitudes of Hann-windowed frames."""
        frames = frame_signal(signal, num_frames, self.hop_length, self.n_fft, self.centre)
        return _power(torch.fft.rfft(frames * self.window))

    def prosody(self, signal: Tensor, power: Tensor) -> Tensor:
        """(B, S) and its (B, T, F) power -> (B, T, 3): log F0 in log Hz, voiced 0/1, log energy."""
        inner = power[..., 1:-1].sum(-1)
        energy = (2 * inner + power[..., 0] + power[..., -1]) * self._energy_scale  # mean square
        frequency, strength = self.pitch(signal, power.shape[1])
        voiced = (strength > VOICING_THRESHOLD) & (energy > SILENCE_ENERGY)
        log_f0 = frequency.log().masked_fill(~voiced, 0)
        return torch.stack([log_f0, voiced.float(), energy.clamp(min=LOG_FLOOR).log()], dim=-1)

    def _normalize(self, name: str, values: Tensor, frame_valid: Tensor) -> Tensor:
        """(B, T, F) -> the same, normalised, zeros where not valid."""
        counted = frame_valid[..., None].expand_as(values)
        if name == "prosody":
            counted = counted.clone()
            counted[..., LOG_F0] &= values[..., VOICED] > 0.5
        if self.normalization == "global":
            mean, std = (values.new_tensor(stat) for stat in GLOBAL_STATS[name])
            values = (values - mean) / std
        elif self.normalization == "utterance":
            fixed = values[..., VOICED]
            values = _standardise(values, counted)
            if name == "prosody":
                values[..., VOICED] = fixed
        return values.masked_fill(~counted, 0)


def _standardise(values: Tensor, counted: Tensor) -> Tensor:
    """(B, T, F) with zero mean and unit deviation over the counted frames of each row and bin."""
    count = counted.sum(1, keepdim=True).clamp(min=1)
    centred = values - values.masked_fill(~counted, 0).sum(1, keepdim=True) / count
    variance = centred.masked_fill(~counted, 0).square().sum(1, keepdim=True) / count
    return centred / variance.sqrt().clamp(min=STD_FLOOR)
