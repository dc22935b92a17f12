"""Synthetic sounds at 16 kHz, and features of them."""

import math

import numpy as np
import torch

RATE, HOP, FIELD = 16000, 320, 400


def num_frames(samples):
    return (samples - FIELD) // HOP + 1


def run(module, waveform, lengths=None, frames=None):
    """Features of (B, S), with the frame grid of the encoder's conv stack."""
    size = waveform.shape[1]
    lengths = torch.tensor(lengths or [size] * len(waveform))
    padding_mask = torch.arange(size) >= lengths[:, None]
    frames = frames or num_frames(size)
    valid = torch.arange(frames) < ((lengths - FIELD) // HOP + 1)[:, None]
    return module(waveform, padding_mask, frames, valid)


def voice(seconds, f0, rate=RATE):
    """A pulse train through one resonance, with breath: (S,) of about unit variance."""
    samples = int(seconds * rate)
    phase = np.arange(samples) * f0 / rate + 0.37
    pulses = np.diff(np.floor(phase), prepend=0) * 10
    time = np.arange(400) / rate
    resonance = np.exp(-300 * time) * np.sin(2 * math.pi * 700 * time)
    signal = np.convolve(pulses, resonance)[:samples]
    signal = signal / signal.std() + 0.01 * torch.randn(samples).numpy()
    return torch.from_numpy(signal).float()
