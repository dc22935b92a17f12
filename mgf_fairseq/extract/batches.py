"""What features are to be written, and computing them batch by batch.

Between the upstream and writer.py: the next batch is read while one is computed, and a row that
cannot be used is given by its reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..data.audio import AudioReader
from ..data.batching import plan_batches
from ..data.manifest import Manifest
from ..data.sample_counts import require_fit
from .folder import FeatureError
from .upstream import Upstream

Array = npt.NDArray[Any]
_READERS = 4  # threads that decode the next batch while this one is computed


@dataclass(frozen=True)
class Job:
    """What is to be written."""

    upstream: Upstream
    manifest: Manifest
    manifest_path: str  # for the summary
    rows: range  # of the manifest
    layers: list[str]
    dtype: str
    batch_seconds: float
    identity: dict[str, Any]  # what decides the features: the same identity, the same folder

    def __post_init__(self) -> None:
        if self.rows.step != 1:
            raise ValueError(f"rows={self.rows} must be consecutive")

    @property
    def layer_indices(self) -> list[int]:
        """Positions of the layers among the upstream's hidden states."""
        return [self.upstream.layer_names.index(name) for name in self.layers]

    def seconds(self, rows: range) -> float:
        """Audio in consecutive rows, as the manifest counts it."""
        counts = self.manifest.num_samples[rows.start : rows.stop]
        return float(counts.sum()) / self.upstream.sample_rate


def read_ahead(job: Job, chunk: Sequence[int]) -> Iterator[tuple[list[int], list[Array | str]]]:
    """Batches of rows, each with its (S,) or why it has none, read while the last is computed."""
    counts = [int(job.manifest.num_samples[row]) for row in chunk]
    limit = int(job.batch_seconds * job.upstream.sample_rate)
    ahead: deque[tuple[list[int], list[Future[Array | str]]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in plan_batches(counts, limit, job.upstream.one_by_one):
            rows = [chunk[index] for index in batch]
            ahead.append((rows, [pool.submit(_read, job, row) for row in rows]))
            if len(ahead) > 1:
                rows, waiting = ahead.popleft()
                yield rows, [future.result() for future in waiting]
        for rows, waiting in ahead:
            yield rows, [future.result() for future in waiting]


def _read(job: Job, row: int) -> Array | str:
    """Read the waveform of a row, or say why it cannot be used."""
    promised = int(job.manifest.num_samples[row])
    geometry = job.upstream.geometry
    try:
        entry = job.manifest.entry(row)
        with AudioReader(entry, job.upstream.sample_rate) as reader:
            require_fit(reader, promised)
            count = min(promised, reader.num_samples)
            if not geometry.num_frames(count):
                return (
                    f"{entry}: {count} samples, fewer than the {geometry.receptive_field} that "
                    "one frame needs"
                )
            return reader.read(0, count)
    except ValueError as error:
        return str(error)


def extract_batch(
    job: Job, batch: list[int], waveforms: list[Array | str]
) -> dict[int, list[Array] | str]:
    """Features of the chosen layers by row, (T, D) each; a reason where there are none."""
    results: dict[int, list[Array] | str] = {}
    readable: list[tuple[int, Array]] = []
    for row, waveform in zip(batch, waveforms, strict=True):
        if isinstance(waveform, str):
            results[row] = waveform
        else:
            readable.append((row, waveform))
    if not readable:
        return results
    try:
        results |= _long_ones(job, readable)
        rest = [(row, waveform) for row, waveform in readable if row not in results]
        if rest:
            results |= _features(job, rest)
    except torch.OutOfMemoryError:
        raise FeatureError(
            f"out of memory with {len(readable)} utterances of up to "
            f"{max(len(w) for _, w in readable) / job.upstream.sample_rate:.0f} s; lower the "
            f"seconds per batch ({job.batch_seconds:g}), or cut long recordings"
        ) from None
    return results


def _features(job: Job, readable: list[tuple[int, Array]]) -> dict[int, list[Array]]:
    features = job.upstream([waveform for _, waveform in readable])
    layers = [features.hidden_states[index].cpu() for index in job.layer_indices]
    lengths = features.lengths.tolist()
    found = {}
    for number, (row, _) in enumerate(readable):
        frames = [layer[number, : lengths[number]].numpy() for layer in layers]
        found[row] = [_narrow(values, job, k) for k, values in enumerate(frames)]
    return found


def _long_ones(job: Job, readable: list[tuple[int, Array]]) -> dict[int, list[Array]]:
    """Features of the waveforms that are encoded in pieces: of no piece more than is asked for."""
    found = {}
    for row, waveform in readable:
        if job.upstream.pieces(len(waveform)):
            pieces = [
                [
                    _narrow(piece.hidden_states[index][0].cpu().numpy(), job, k)
                    for k, index in enumerate(job.layer_indices)
                ]
                for piece in job.upstream.stream(waveform)
            ]
            found[row] = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    return found


def _narrow(values: Array, job: Job, layer: int) -> Array:
    """(T, D) fp32 in the job's dtype."""
    with np.errstate(over="ignore"):
        narrowed = values.astype(job.dtype)
    if not np.isfinite(narrowed).all():
        why = f"beyond {job.dtype}; use float32" if np.isfinite(values).all() else "not finite"
        raise FeatureError(f"{job.upstream.info['name']} {job.layers[layer]}: values are {why}")
    return narrowed
