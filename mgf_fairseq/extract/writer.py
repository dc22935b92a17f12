"""Stream the features of a manifest to a folder that has its name only when it is whole.

Works through the manifest in chunks: in each, utterances are batched by length, and the results
appended to one growing array per layer in manifest order. After each chunk NAME.part says how far
it is, so a call that is killed at any moment goes on from there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..data.audio import AudioReader
from ..data.batching import plan_batches
from ..data.manifest import Manifest
from ..data.rates import counted_rate
from ..utils.atomic import replace_file
from ..utils.progress import Progress
from .folder import FORMAT, LENGTHS, PROGRESS, ROWS, SUMMARY, FeatureError, layer_file
from .npy import GrowingArray
from .upstream import Upstream

_CHUNK_BATCHES = 10  # between two notes of how far the work is; lengths are sorted within
_CHUNK_BYTES = 1 << 28  # of features held in memory between two appends
_READERS = 4  # threads that decode the next batch while this one is computed
_Array = npt.NDArray[Any]


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


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for one process at a time; a second one waits, a killed one lets go."""
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock, "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                current = os.path.samestat(os.fstat(stream.fileno()), lock.stat())
            except FileNotFoundError:
                current = False
            if not current:  # its last holder removed it while we waited
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def check_rate(job: Job) -> None:
    """Refuse a manifest that was prepared for another sample rate than the upstream's.

    Raises:
        FeatureError: the counts of its first readable files say so.
    """
    rate = job.upstream.sample_rate
    prepared = counted_rate(job.manifest, job.rows, rate)
    if prepared != rate:
        raise FeatureError(
            f"{job.manifest_path}: prepared for {prepared} Hz, but {job.upstream.info['name']} "
            f"takes {rate} Hz; prepare the audio for it: `mgf prepare ... --sample-rate {rate}`"
        )


def write_folder(job: Job, folder: Path, progress: Progress | None = None) -> None:
    """Extract what the job says and give the folder its name; whoever calls holds it `alone`.

    Raises:
        FeatureError: no row can be read, a value does not fit the dtype, or memory runs out.
    """
    check_rate(job)
    part = folder.with_name(f"{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    writer = _Writer(job, part)
    total, done = job.seconds(job.rows), job.seconds(job.rows[: writer.done])

    def advance(row: int | None = None) -> None:
        nonlocal done
        done += 0.0 if row is None else job.seconds(range(row, row + 1))
        if progress:
            progress("extract", min(done, total), total)

    advance()
    for chunk in _chunks(job, job.rows[writer.done :]):
        results: dict[int, list[_Array] | str] = {}
        for batch, waveforms in _read_ahead(job, chunk):
            results.update(_extract_batch(job, batch, waveforms))
            for row in batch:
                advance(row)
        writer.append(chunk, results)
    writer.finish(folder)


def _chunks(job: Job, rows: range) -> Iterator[range]:
    """Cut rows into consecutive stretches of bounded seconds and bytes."""
    rate, hop_length = job.upstream.sample_rate, job.upstream.hop_length
    bytes_per_frame = len(job.layers) * job.upstream.width * np.dtype(job.dtype).itemsize
    limit = min(
        _CHUNK_BATCHES * job.batch_seconds * rate,
        _CHUNK_BYTES / bytes_per_frame * hop_length,
    )
    start, held = 0, 0
    for position, row in enumerate(rows):
        count = int(job.manifest.num_samples[row])
        if position > start and held + count > limit:
            yield rows[start:position]
            start, held = position, 0
        held += count
    if start < len(rows):
        yield rows[start:]


def _read_ahead(job: Job, chunk: range) -> Iterator[tuple[list[int], list[_Array | str]]]:
    """Batches of rows with their waveforms, or reasons, read while the one before is computed."""
    counts = [int(job.manifest.num_samples[row]) for row in chunk]
    limit = int(job.batch_seconds * job.upstream.sample_rate)
    ahead: deque[tuple[list[int], list[Future[_Array | str]]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in plan_batches(counts, limit, job.upstream.one_by_one):
            rows = [chunk[index] for index in batch]
            ahead.append((rows, [pool.submit(_read, job, row) for row in rows]))
            if len(ahead) > 1:
                rows, waiting = ahead.popleft()
                yield rows, [future.result() for future in waiting]
        for rows, waiting in ahead:
            yield rows, [future.result() for future in waiting]


def _read(job: Job, row: int) -> _Array | str:
    """Read the waveform of a row, or say why it cannot be used."""
    promised = int(job.manifest.num_samples[row])
    geometry = job.upstream.geometry
    try:
        entry = job.manifest.entry(row)
        with AudioReader(entry, job.upstream.sample_rate) as reader:
            if abs(reader.num_samples - promised) > 1 + promised // 1000:
                return (
                    f"{entry}: the manifest says {promised} samples, the file holds "
                    f"{reader.num_samples} at {reader.sample_rate} Hz; run `mgf prepare` again"
                )
            count = min(promised, reader.num_samples)
            if not geometry.num_frames(count):
                return (
                    f"{entry}: {count} samples, fewer than the {geometry.receptive_field} that "
                    "one frame needs"
                )
            return reader.read(0, count)
    except ValueError as error:
        return str(error)


def _extract_batch(
    job: Job, batch: list[int], waveforms: list[_Array | str]
) -> dict[int, list[_Array] | str]:
    """Features of the chosen layers by row, (T, D) each; a reason where there are none."""
    results: dict[int, list[_Array] | str] = {}
    readable: list[tuple[int, _Array]] = []
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


def _features(job: Job, readable: list[tuple[int, _Array]]) -> dict[int, list[_Array]]:
    features = job.upstream([waveform for _, waveform in readable])
    layers = [features.hidden_states[index].cpu() for index in job.layer_indices]
    lengths = features.lengths.tolist()
    found = {}
    for number, (row, _) in enumerate(readable):
        frames = [layer[number, : lengths[number]].numpy() for layer in layers]
        found[row] = [_narrow(values, job, k) for k, values in enumerate(frames)]
    return found


def _long_ones(job: Job, readable: list[tuple[int, _Array]]) -> dict[int, list[_Array]]:
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


def _narrow(values: _Array, job: Job, layer: int) -> _Array:
    """(T, D) fp32 in the job's dtype."""
    with np.errstate(over="ignore"):
        narrowed = values.astype(job.dtype)
    if not np.isfinite(narrowed).all():
        why = f"beyond {job.dtype}; use float32" if np.isfinite(values).all() else "not finite"
        raise FeatureError(f"{job.upstream.info['name']} {job.layers[layer]}: values are {why}")
    return narrowed


class _Writer:
    """The growing arrays of NAME.part, and the note of how far they are."""

    def __init__(self, job: Job, part: Path) -> None:
        self.job, self.part = job, part
        note = self._note()
        self.done: int = note["done"]
        self.left_out: list[dict[str, Any]] = note["left_out"]
        count, frames, widths = note["utterances"], note["frames"], note["widths"]
        self.rows = GrowingArray(part / ROWS, (), "int64", count)
        self.lengths = GrowingArray(part / LENGTHS, (), "int64", count)
        self.layers: list[GrowingArray] = []
        if widths:
            self._open_layers(widths, frames)

    def _note(self) -> dict[str, Any]:
        """Read how far an earlier call came."""
        fresh: dict[str, Any] = {"identity": self.job.identity, "done": 0, "left_out": []}
        fresh |= {"utterances": 0, "frames": 0, "widths": []}
        try:
            note: dict[str, Any] = json.loads((self.part / PROGRESS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return fresh
        if note.get("identity") != self.job.identity:
            raise FeatureError(
                f"{self.part}: holds the beginning of other features; remove it, write elsewhere, "
                "or overwrite it"
            )
        return note

    def _open_layers(self, widths: Sequence[int], frames: int) -> None:
        self.layers = [
            GrowingArray(self.part / layer_file(name), (width,), self.job.dtype, frames)
            for name, width in zip(self.job.layers, widths, strict=True)
        ]

    def append(self, chunk: range, results: dict[int, list[_Array] | str]) -> None:
        """Append a chunk in manifest order and note that it is there."""
        kept: dict[int, list[_Array]] = {}
        for row in chunk:
            result = results[row]
            if isinstance(result, str):
                entry = self.job.manifest.paths[row]
                self.left_out.append({"row": row, "entry": entry, "reason": result})
            else:
                kept[row] = result
        if kept:
            features = list(kept.values())
            if not self.layers:
                self._open_layers([values.shape[1] for values in features[0]], 0)
            self.rows.append(np.asarray(list(kept), np.int64))
            self.lengths.append(np.asarray([len(values[0]) for values in features], np.int64))
            for number, layer in enumerate(self.layers):
                for values in features:
                    layer.append(values[number])
        self.done += len(chunk)
        self._keep()

    def _keep(self) -> None:
        """Write the note, after all that it tells of is on the disk."""
        for array in (self.rows, self.lengths, *self.layers):
            array.sync()
        note = {
            "identity": self.job.identity,
            "done": self.done,
            "left_out": self.left_out,
            "utterances": self.rows.rows,
            "frames": self.layers[0].rows if self.layers else 0,
            "widths": [layer.tail[0] for layer in self.layers],
        }
        with replace_file(self.part / PROGRESS) as stream:
            json.dump(note, stream)

    def finish(self, folder: Path) -> None:
        """Write the summary and give the folder its name."""
        if not self.layers:
            shutil.rmtree(self.part)
            reason = self.left_out[0]["reason"] if self.left_out else "it has no rows"
            raise FeatureError(f"{self.job.manifest_path}: nothing can be read: {reason}")
        for array in (self.rows, self.lengths, *self.layers):
            array.close()
        summary = {
            "format": FORMAT,
            "upstream": {"kind": self.job.upstream.kind, **self.job.upstream.info},
            "manifest": self.job.manifest_path,
            "layers": self.job.layers,
            "dtype": self.job.dtype,
            "sample_rate": self.job.upstream.sample_rate,
            "frame_rate": self.job.upstream.frame_rate,
            "hop_length": self.job.upstream.hop_length,
            "utterances": self.rows.rows,
            "frames": self.layers[0].rows,
            "left_out": self.left_out,
            "identity": self.job.identity,
        }
        with replace_file(self.part / SUMMARY) as stream:
            json.dump(summary, stream, indent=1)
        (self.part / PROGRESS).unlink(missing_ok=True)
        os.replace(self.part, folder)
