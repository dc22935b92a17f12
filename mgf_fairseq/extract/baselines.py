"""Acoustic features as an upstream: log-mel and MFCC on the frame grid of the encoder.

Rows to compare with; upstream.py chooses between these and checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..acoustics.features import AcousticFeatures
from ..baselines.acoustic_model import ACOUSTIC
from ..encoder.geometry import STANDARD_GRID
from ..encoder.padding import padding_mask_of
from .waveform_model import Features, WaveformModel
from .waveforms import Waveforms, as_rows

_SECONDS_AT_ONCE = 60  # of segments, so that memory does not grow with a recording


class AcousticBaseline(WaveformModel):
    """Log-mel or MFCC on the encoder's frame grid: frame t is centred on sample 320 t + 200.

    Each waveform is brought to zero mean and unit variance first, as the encoders get theirs. What
    follows is plain: natural logarithms of 80 mel energies (``fbank``), or 13 cepstra with their
    first and second differences (``mfcc``); nothing is normalized over utterance or corpus.
    """

    def __init__(self, spec: str, sample_rate: int = 16000) -> None:
        geometry = STANDARD_GRID
        name = ACOUSTIC[spec]
        acoustic = AcousticFeatures(
            [name],
            sample_rate,
            geometry.hop_length,
            geometry.receptive_field,
            normalization="none",
        )
        super().__init__(geometry, acoustic.dims[name], sample_rate, normalize=True)
        self.name, self.acoustic = name, acoustic

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalized -> one (B, T, F), and (B,) valid frames."""
        device = self.device
        frames = [self.geometry.num_frames(len(row)) for row in rows]
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], device)
        valid = ~padding_mask_of(frames, max(frames), device)
        features = self.acoustic(source, mask, max(frames), valid)[self.name]
        return [features], valid.sum(dim=1)


class SegmentMeans(nn.Module):
    """Another model on segments that it hears one by one: of each, the mean over its frames.

    So no vector knows of speech outside its segment. What is left over at the end of a waveform is
    skipped; a waveform shorter than a segment is one.
    """

    def __init__(self, model: WaveformModel, num_samples: int) -> None:
        super().__init__()
        self.model, self.hop_length = model, num_samples
        self.geometry, self.width = model.geometry, model.width  # of the frames
        self.sample_rate, self.one_by_one = model.sample_rate, model.one_by_one

    @torch.no_grad()
    def forward(self, waveforms: Waveforms, sample_rate: int | None = None) -> Features:
        """(S,) each -> `Features` with one vector per segment in the place of a frame.

        Raises:
            ValueError: a waveform cannot be used; the message says which, and why.
        """
        device, least = self.model.device, self.geometry.receptive_field
        rows = as_rows(waveforms, self.sample_rate, device, sample_rate=sample_rate, least=least)
        counts = [max(len(row) // self.hop_length, 1) for row in rows]
        segments = [
            row[start : start + self.hop_length]
            for row, count in zip(rows, counts, strict=True)
            for start in range(0, count * self.hop_length, self.hop_length)
        ]
        at_once = max(_SECONDS_AT_ONCE * self.sample_rate // self.hop_length, 1)
        groups = [
            self._means(segments[first : first + at_once])
            for first in range(0, len(segments), at_once)
        ]
        states = [
            nn.utils.rnn.pad_sequence(list(torch.split(torch.cat(means), counts)), batch_first=True)
            for means in zip(*groups, strict=True)
        ]
        lengths = torch.tensor(counts, device=device)
        return Features(states, lengths, self.sample_rate / self.hop_length)

    def _means(self, segments: list[Tensor]) -> list[Tensor]:
        """N of (S,) -> for each layer (N, D)."""
        features: Features = self.model(segments)
        states, lengths = features.hidden_states, features.lengths
        padding = padding_mask_of(lengths.tolist(), states[0].shape[1], lengths.device)
        return [
            state.masked_fill(padding[..., None], 0).sum(dim=1) / lengths[:, None]  # (N, T, D)
            for state in states
        ]
