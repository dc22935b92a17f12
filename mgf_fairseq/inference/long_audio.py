"""Run a model over recordings of any length: short ones in batches, long ones in pieces, in order.

Between a `FrameModel` and what is made of its frames (transcripts, classes). One recording that
cannot be read costs only itself, and memory does not grow with the length of a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..data.audio import resampled_length
from ..data.batching import plan_batches
from ..encoder.geometry import ConvGeometry
from ..extract.waveforms import Waveform, opened
from ..utils.progress import Progress
from .frame_model import FrameModel

Result = TypeVar("Result")

CPU = torch.device("cpu")
SILENT, SHORT = "silent", "too short"
# Recordings that are sorted by length together: results come in order, after each so many at most.
WINDOW = 256


@dataclass(frozen=True)
class Skipped:
    """A recording that could not be used, and why."""

    name: str
    reason: str


@dataclass
class Recording:
    """What is known of a recording; its levels once all of it has been read."""

    name: str
    num_samples: int
    sample_rate: int  # Hz, of the model
    lowest: float = float("inf")
    highest: float = float("-inf")

    def hear(self, samples: Tensor) -> Tensor:
        """Note the range of samples (S,), and return them."""
        if len(samples):
            self.lowest = min(self.lowest, float(samples.min()))
            self.highest = max(self.highest, float(samples.max()))
        return samples

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.num_samples / self.sample_rate

    @property
    def silent(self) -> bool:
        """Whether all samples are equal: digital silence, or a constant offset."""
        return self.lowest >= self.highest


def flags_of(recording: Recording, geometry: ConvGeometry) -> list[str]:
    """What a reader must know of a recording that has been read: nobody can be heard in it."""
    short = not geometry.num_frames(recording.num_samples)
    return [SILENT] * recording.silent + [SHORT] * short


# Stretches of frames, (T, D) each, of one recording -> what is made of it.
Finish = Callable[[Recording, Iterable[Tensor]], Result]


@dataclass(frozen=True)
class Run(Generic[Result]):
    """How a model is run over recordings."""

    model: FrameModel
    finish: Finish[Result]
    batch_seconds: float = 60.0  # padded audio per batch
    sample_rate: int | None = None  # Hz of arrays; the model's if None
    progress: Progress = lambda what, done, total: None
    what: str = "transcribe"  # what progress is called

    def over(
        self, items: Sequence[Waveform], names: Sequence[str] | None = None
    ) -> Iterator[Result | Skipped]:
        """Yield one result per recording, in their order.

        Args:
            items: arrays or tensors of (S,), or paths and entries of audio files.
            names: what they are called; paths by themselves, arrays by their place if None.
        """
        given = [_Item(number, item, name) for number, item, name in _named(items, names)]
        lengths = [self._length(item) for item in given]
        total = sum(length for length in lengths if isinstance(length, int))
        advance = _Advance(self.progress, self.what, total / self.model.sample_rate)
        for start in range(0, len(given), WINDOW):
            window = range(start, min(start + WINDOW, len(given)))
            found: dict[int, Result | Skipped] = {}
            readable: dict[int, int] = {}
            for number in window:
                length = lengths[number]
                if isinstance(length, Skipped):
                    found[number] = length
                else:
                    readable[number] = length
            for batch in self._batches(readable):
                found |= self._results([given[number] for number in batch], advance)
            for number in window:
                yield found[number]

    def all_of(self, items: Sequence[Waveform]) -> list[Result]:
        """The results of all recordings.

        Raises:
            ValueError: one cannot be used; the message says which, and why.
        """
        found = []
        for result in self.over(items):
            if isinstance(result, Skipped):
                raise ValueError(f"{result.name}: {result.reason}")
            found.append(result)
        return found

    def _length(self, item: _Item) -> int | Skipped:
        """Samples at the model's rate, by the header of a file and the shape of an array."""
        if item.is_file:
            try:
                with self._opened(item) as (num_samples, _):
                    return num_samples
            except ValueError as error:
                return item.skipped(error)
        shape: Any = getattr(item.waveform, "shape", None) or (0,)
        rate = self.model.sample_rate
        return resampled_length(int(shape[0]), int(self.sample_rate or rate), rate)

    def _batches(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Short recordings by length, then long ones alone."""
        long = [number for number, count in lengths.items() if self.model.pieces(count)]
        short = [number for number in lengths if number not in set(long)]
        limit = int(self.batch_seconds * self.model.sample_rate)
        counts = [lengths[number] for number in short]
        for batch in plan_batches(counts, limit, self.model.one_by_one):
            yield [short[place] for place in batch]
        for number in long:
            yield [number]

    def _results(self, items: Sequence[_Item], advance: _Advance) -> dict[int, Result | Skipped]:
        if len(items) == 1:
            return {items[0].number: self._alone(items[0], advance)}
        found: dict[int, Result | Skipped] = {}
        heard: dict[int, tuple[Recording, Tensor]] = {}
        for item in items:
            try:
                heard[item.number] = self._read(item)
            except ValueError as error:
                found[item.number] = item.skipped(error)
        least = self.model.geometry.receptive_field
        rows = {number: row for number, (_, row) in heard.items() if len(row) >= least}
        frames: dict[int, list[Tensor]] = {number: [] for number in heard}
        if rows:
            features = self.model([row.to(self.model.device) for row in rows.values()])
            states = features.hidden_states[0]  # (B, T, D)
            for number, state, length in zip(rows, states, features.lengths.tolist(), strict=True):
                frames[number] = [state[:length]]
        for number, (recording, _) in heard.items():
            found[number] = self.finish(recording, frames[number])
            advance(recording.seconds)
        return found

    def _read(self, item: _Item) -> tuple[Recording, Tensor]:
        with self._opened(item) as (num_samples, read):
            recording = Recording(item.name, num_samples, self.model.sample_rate)
            return recording, recording.hear(read(0, num_samples))

    def _alone(self, item: _Item, advance: _Advance) -> Result | Skipped:
        """One recording, of any length, of which a piece at a time is in memory."""
        model = self.model
        try:
            with self._opened(item) as (num_samples, read):
                recording = Recording(item.name, num_samples, model.sample_rate)

                def hear(start: int, count: int) -> Tensor:
                    return recording.hear(read(start, count)).to(model.device)

                def pieces() -> Iterator[Tensor]:
                    for states in model.encode_pieces(num_samples, hear):
                        yield states[0][0]
                        advance(states[0].shape[1] * model.hop_length / model.sample_rate)

                if num_samples < model.geometry.receptive_field:
                    hear(0, num_samples)
                    return self.finish(recording, [])
                with torch.no_grad():
                    return self.finish(recording, pieces())
        except ValueError as error:
            return item.skipped(error)

    def _opened(
        self, item: _Item
    ) -> AbstractContextManager[tuple[int, Callable[[int, int], Tensor]]]:
        rate, name = self.model.sample_rate, item.place
        return opened(item.waveform, rate, CPU, sample_rate=self.sample_rate, name=name)


class _Item(NamedTuple):
    """One of the recordings that are given."""

    number: int
    waveform: Waveform
    name: str

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"waveform {self.number}"

    @property
    def is_file(self) -> bool:
        return isinstance(self.waveform, str | PathLike)

    def skipped(self, error: ValueError) -> Skipped:
        """The error without the names at its beginning."""
        reason = str(error).removeprefix(self.place).lstrip(": ")
        return Skipped(self.name, reason.removeprefix(f"{self.waveform}: "))


def _named(
    items: Sequence[Waveform], names: Sequence[str] | None
) -> Iterator[tuple[int, Waveform, str]]:
    for number, item in enumerate(items):
        own = str(item) if isinstance(item, str | PathLike) else f"waveform {number}"
        yield number, item, names[number] if names else own


class _Advance:
    """Adds up how much audio is done."""

    def __init__(self, progress: Progress, what: str, total: float) -> None:
        self.progress, self.what, self.done, self.total = progress, what, 0.0, total

    def __call__(self, seconds: float) -> None:
        self.done = min(self.done + seconds, self.total)
        self.progress(self.what, self.done, self.total)
