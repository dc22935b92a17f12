"""What the sample scale kept of an utterance: to hear and to see, beside the original.

Fed with the two 16-bit files of a result folder.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import soundfile
import torch
from matplotlib.figure import Figure

from ...losses import reconstruction as losses
from .theme import SEQUENTIAL, Picture, drawing, put_title, series_color, to_picture

Signal = npt.NDArray[np.float32]
_DYNAMIC_DB = 70  # range of the spectrogram below the loudest place of the original


@dataclass(frozen=True)
class Clip:
    """A mono recording."""

    path: Path
    signal: Signal  # (S,)
    sample_rate: int

    def data_uri(self) -> str:
        """Return the file itself as an address that needs no file."""
        return f"data:audio/wav;base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def read_clip(path: Path) -> Clip:
    """Read a recording.

    Raises:
        ValueError: it is no audio file, or empty; the message names it.
    """
    try:
        signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as audio: {error}") from error
    if not len(signal):
        raise ValueError(f"{path} holds no audio")
    return Clip(path, signal.mean(axis=1), int(rate))


def si_sdr(original: Signal, decoded: Signal) -> float:
    """SI-SDR in dB of what both signals have, as the training log counts it."""
    size = min(len(original), len(decoded))
    truth, made = (torch.from_numpy(signal[:size])[None] for signal in (original, decoded))
    return float(losses.si_sdr(made, truth, torch.ones_like(truth, dtype=torch.bool)))


def draw_reconstruction(title: str, original: Clip, decoded: Clip) -> Picture:
    """Draw waveform and spectrogram of both, on the same scales."""
    ratio = si_sdr(original.signal, decoded.signal)
    reach = max(float(np.abs(clip.signal).max()) for clip in (original, decoded)) or 1.0
    spectra = [_spectrogram(clip) for clip in (original, decoded)]
    top = float(spectra[0].max())
    with drawing():
        figure = Figure(figsize=(9.2, 5.2), layout="constrained")
        put_title(
            figure,
            f"{title}: an utterance (left) and what the waveform decoder made of it (right)",
            f"SI-SDR {ratio:.1f} dB (0 dB: error as strong as the signal; higher is better)",
        )
        grid = figure.subplots(2, 2, sharex=True, height_ratios=[1, 2])
        names = ("original", "decoded from the encoder")
        for column, (clip, spectrum) in enumerate(zip((original, decoded), spectra, strict=True)):
            wave, below = grid[:, column]
            duration = len(clip.signal) / clip.sample_rate
            low, high = _envelope(clip.signal)
            seconds = np.linspace(0, duration, len(low))
            wave.fill_between(seconds, low, high, color=series_color(0), linewidth=0.4)
            wave.set(title=names[column], ylim=(-reach, reach), ylabel="amplitude")
            image = below.imshow(
                spectrum,
                origin="lower",
                aspect="auto",
                cmap=SEQUENTIAL,
                norm=mpl.colors.Normalize(top - _DYNAMIC_DB, top),
                extent=(0, duration, 0, clip.sample_rate / 2000),
                interpolation="antialiased",
            )
            below.set(xlabel="seconds", ylabel="kHz", xlim=(0, duration))
            below.locator_params(axis="x", nbins=5)
        bar = figure.colorbar(image, ax=grid[1, :], shrink=0.9)
        bar.set_label("power, dB")
        bar.outline.set_visible(False)
        return to_picture(
            figure,
            f"{title}: waveform and spectrogram, original and decoded, SI-SDR {ratio:.1f} dB",
        )


def _envelope(signal: Signal) -> tuple[Signal, Signal]:
    """Lowest and highest value of each of up to 500 stretches: what a line of samples shows."""
    starts = np.unique(np.linspace(0, len(signal) - 1, min(500, len(signal))).astype(int))
    return np.minimum.reduceat(signal, starts), np.maximum.reduceat(signal, starts)


def _spectrogram(clip: Clip) -> npt.NDArray[np.float64]:
    """Power in dB of 25 ms Hann windows every 10 ms: (bins, windows)."""
    window, hop = round(0.025 * clip.sample_rate), round(0.01 * clip.sample_rate)
    padded = np.pad(clip.signal.astype(np.float64), (0, max(0, window - len(clip.signal))))
    framed = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.square(
        np.abs(np.fft.rfft(framed * np.hanning(window), 512 if window <= 512 else None))
    )
    return 10 * np.log10(power.T + 1e-10)
