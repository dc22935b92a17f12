"""What encoders and acoustic baselines share: waveforms in, features out, at any length.

encoder.py and upstream.py say how a batch is encoded; how waveforms are read, normalized, and cut
where they are long, is said here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..acoustics.normalization import VARIANCE_EPSILON, unit_variance
from ..encoder.geometry import ConvGeometry
from .waveforms import Waveform, Waveforms, as_rows, opened

# Attention costs time and memory with the square of a waveform's length, so a waveform longer than
# LONG_SECONDS is encoded in pieces, each with CONTEXT_SECONDS more on either side, which are
# dropped. Of what this does to a frame, examples/extract/README.md has the measure.
LONG_SECONDS, PIECE_SECONDS, CONTEXT_SECONDS = 60.0, 30.0, 5.0


@dataclass(frozen=True)
class Features:
    """What an encoder says about a batch."""

    hidden_states: list[Tensor]  # L + 1 of (B, T, D): the Transformer's input, then each layer
    lengths: Tensor  # (B,) int64 valid frames per waveform
    frame_rate: float  # frames per second


class Piece(NamedTuple):
    """Consecutive frames of a long waveform, and those that are encoded to have them."""

    first: int
    stop: int
    heard_first: int
    heard_stop: int


def cut(num_frames: int, most: int, context: int) -> Iterator[Piece]:
    """Cut frames into pieces of at most `most`, as alike in length as can be."""
    count = math.ceil(num_frames / most)
    edges = [number * num_frames // count for number in range(count + 1)]
    for first, stop in itertools.pairwise(edges):
        yield Piece(first, stop, max(first - context, 0), min(stop + context, num_frames))


class WaveformModel(nn.Module):
    """Turns waveforms into `Features`; a subclass says how a batch of rows is encoded."""

    def __init__(
        self, geometry: ConvGeometry, width: int, sample_rate: int, normalize: bool
    ) -> None:
        super().__init__()
        self.geometry, self.width = geometry, width
        self.hop_length = geometry.hop_length
        self.sample_rate, self.normalize = sample_rate, normalize
        self.one_by_one = False

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalized -> the hidden states, (B, T, D) each, and (B,) valid frames."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @torch.no_grad()
    def forward(self, waveforms: Waveforms, sample_rate: int | None = None) -> Features:
        """Encode one waveform or several, of any lengths; see `waveforms.as_rows` for their forms.

        A batch gives what each waveform alone gives; with group norm in the conv stack (wav2vec
        2.0 and HuBERT Base), where padding would change valid frames, waveforms are encoded one
        by one. Those longer than ``LONG_SECONDS`` are encoded in overlapping pieces.

        Args:
            waveforms: arrays or tensors of (S,), mono, or paths of audio files.
            sample_rate: Hz of the arrays, which are resampled; ``self.sample_rate`` if None.

        Raises:
            ValueError: a waveform cannot be used; the message says which, and why.
        """
        least = self.geometry.receptive_field
        rows = as_rows(
            waveforms, self.sample_rate, self.device, sample_rate=sample_rate, least=least
        )
        with _full_precision():
            if self.one_by_one or any(self.pieces(len(row)) for row in rows):
                states, lengths = join([self._whole(row) for row in rows])
            else:
                states, lengths = self.encode_rows([self._normalized(row) for row in rows])
        return Features(states, lengths, self.sample_rate / self.hop_length)

    @torch.no_grad()
    def stream(self, waveform: Waveform, sample_rate: int | None = None) -> Iterator[Features]:
        """Encode one waveform of any length, or an audio file, piece by piece.

        The pieces are consecutive frames, and together what `forward` gives. Neither a file nor
        its features are ever in memory as a whole.

        Raises:
            ValueError: it cannot be used; the message says why.
        """
        with opened(
            waveform,
            self.sample_rate,
            self.device,
            sample_rate=sample_rate,
            least=self.geometry.receptive_field,
        ) as (num_samples, read):
            for states in self.encode_pieces(num_samples, read):
                lengths = torch.tensor([states[0].shape[1]], device=self.device)
                yield Features(states, lengths, self.sample_rate / self.hop_length)

    def pieces(self, num_samples: int) -> list[float]:
        """Seconds of a piece and of its context if so long a waveform is cut; nothing if not."""
        if num_samples <= LONG_SECONDS * self.sample_rate:
            return []
        return [PIECE_SECONDS, CONTEXT_SECONDS]

    def _normalized(self, row: Tensor) -> Tensor:
        return unit_variance(row) if self.normalize else row

    def _whole(self, row: Tensor) -> list[Tensor]:
        """(S,) -> the hidden states, (1, T, D) each."""
        pieces = self.encode_pieces(len(row), lambda start, count: row[start : start + count])
        return [torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True)]

    def encode_pieces(
        self, num_samples: int, read: Callable[[int, int], Tensor]
    ) -> Iterator[list[Tensor]]:
        """The hidden states, (1, T, D) each, of one piece after the other."""
        if not self.pieces(num_samples):
            with _full_precision():
                states, _ = self.encode_rows([self._normalized(read(0, num_samples))])
            yield states
            return
        most, context = (
            round(seconds * self.sample_rate / self.hop_length)
            for seconds in (PIECE_SECONDS, CONTEXT_SECONDS)
        )
        mean, deviation = self._moments(num_samples, read)
        frames = self.geometry.num_frames(num_samples)
        for piece in cut(frames, most, context):
            start = piece.heard_first * self.hop_length
            count = (piece.heard_stop - piece.heard_first - 1) * self.hop_length
            row = (read(start, count + self.geometry.receptive_field) - mean) / deviation
            with _full_precision():
                states, _ = self.encode_rows([row])
            first = piece.first - piece.heard_first
            yield [state[:, first : first + piece.stop - piece.first] for state in states]

    def _moments(self, num_samples: int, read: Callable[[int, int], Tensor]) -> tuple[float, float]:
        """Mean and deviation of a whole waveform, as in `unit_variance`; 0 and 1 if unused."""
        if not self.normalize:
            return 0.0, 1.0
        block = round(PIECE_SECONDS * self.sample_rate)
        total = square = 0.0
        for start in range(0, num_samples, block):
            samples = read(start, min(block, num_samples - start)).double()
            total += float(samples.sum())
            square += float(samples.square().sum())
        mean = total / num_samples
        variance = max(square / num_samples - mean**2, 0.0)
        return mean, math.sqrt(variance + VARIANCE_EPSILON)


def join(parts: list[list[Tensor]]) -> tuple[list[Tensor], Tensor]:
    """Pad what single rows gave, L + 1 of (1, T, D) each, to one batch, and count their frames."""
    states = [
        nn.utils.rnn.pad_sequence([state[0] for state in layer], batch_first=True)
        for layer in zip(*parts, strict=True)
    ]
    lengths = torch.tensor([part[0].shape[1] for part in parts], device=states[0].device)
    return states, lengths


@contextmanager
def _full_precision() -> Iterator[None]:
    """Keep a GPU's convolutions from TF32, whose 1e-3 would set batches apart from singles."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
