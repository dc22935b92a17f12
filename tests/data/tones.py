"""Tones, and how they are read."""

import numpy as np

from mgf_fairseq.data.audio import AudioReader


def tones(num_samples, sample_rate, channels=1):
    """A chirp-like mixture below 3 kHz, different in each channel: (S, C)."""
    time = np.arange(num_samples) / sample_rate
    rows = [
        0.3 * np.sin(2 * np.pi * (300 + 150 * c + 200 * time) * time)
        + 0.1 * np.sin(2 * np.pi * 2500 * time)
        for c in range(channels)
    ]
    return np.stack(rows, axis=1).astype(np.float32)


def read(entry, sample_rate=16000, start=0, num_samples=None):
    with AudioReader(str(entry), sample_rate) as reader:
        return reader.read(start, num_samples)
