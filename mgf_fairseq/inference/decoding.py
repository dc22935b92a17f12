"""Decoders: frames of one recording in, hypotheses out; here the greedy one of CTC.

Between the recognizer, which makes the frames, and transcripts.py, which makes words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of symbols with the frames that each of them takes."""

    symbols: list[int]
    first: list[int]  # frame where each symbol begins; empty if the decoder does not know
    last: list[int]  # and the last frame that it takes
    confidence: list[float]  # of each symbol, 0 to 1
    score: float  # log-probability; the best hypothesis has the highest
    num_frames: int
    blank_frames: int  # frames whose likeliest symbol is the blank


class Decoder(Protocol):
    """What turns frames into hypotheses; beam_search.py and attention.py have others."""

    def decode(self, frames: Iterable[Tensor], /) -> list[Hypothesis]:
        """Decode one recording.

        Args:
            frames: consecutive stretches of its frames: with CTC the log-probabilities of symbols,
                (T, V) each; for an attention decoder the encoder's frames, (T, D). A long recording
                comes in many, so that a decoder can work without holding all of it.

        Returns:
            the hypotheses, the best one first; at least one.
        """


@dataclass(frozen=True)
class GreedyDecoder:
    """Takes the likeliest symbol of each frame, merges repeats and drops blanks."""

    blank: int
    ignored: frozenset[int] = frozenset()  # symbols that are not part of a text

    def decode(self, log_probs: Iterable[Tensor]) -> list[Hypothesis]:
        """Decode one recording; of each stretch only the best symbols are kept."""
        best = [stretch.max(dim=-1) for stretch in log_probs]
        if not best:
            return [Hypothesis([], [], [], [], 0.0, 0, 0)]
        path = np.concatenate([found.indices.cpu().numpy() for found in best])
        value = np.concatenate([found.values.double().cpu().numpy() for found in best])
        return [self._hypothesis(path, value)]

    def _hypothesis(
        self, path: npt.NDArray[np.int64], value: npt.NDArray[np.float64]
    ) -> Hypothesis:
        """(T,) symbols and their log-probabilities -> the runs that are symbols of the text."""
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        stops = np.append(starts[1:], len(path))
        kept = ~np.isin(path[starts], [self.blank, *self.ignored])
        likeliest = np.maximum.reduceat(value, starts) if len(starts) else value
        return Hypothesis(
            symbols=path[starts][kept].tolist(),
            first=starts[kept].tolist(),
            last=(stops - 1)[kept].tolist(),
            confidence=np.exp(likeliest[kept]).tolist(),
            score=float(value.sum()),
            num_frames=len(path),
            blank_frames=int((path == self.blank).sum()),
        )
