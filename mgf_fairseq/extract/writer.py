"""Stream the features of a manifest to a folder that has its name only when it is whole.

Works through the manifest in chunks: in each, utterances are batched by length, and the results
(batches.py) appended to one growing array per layer in manifest order. After each chunk NAME.part
says how far the work is, so that a killed call can resume there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rates import counted_rate
from ..utils.atomic import replace_file
from ..utils.progress import Progress
from .batches import Array, Job, extract_batch, read_ahead
from .folder import FORMAT, LENGTHS, PROGRESS, ROWS, SUMMARY, FeatureError, layer_file
from .npy import GrowingArray

_CHUNK_BATCHES = 10  # between two notes of how far the work is; lengths are sorted within
_CHUNK_BYTES = 1 << 28  # of features held in memory between two appends


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
    """Extract what the job says and give the folder its name; the caller holds its `folder_lock`.

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
        results: dict[int, list[Array] | str] = {}
        for batch, waveforms in read_ahead(job, chunk):
            results.update(extract_batch(job, batch, waveforms))
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


class _Writer:
    """The growing arrays of NAME.part, and the note of how far they are."""

    def __init__(self, job: Job, part: Path) -> None:
        self.job, self.part = job, part
        note = self._note()
        self.done: int = note["done"]
        self.skipped: list[dict[str, Any]] = note["left_out"]
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

    def append(self, chunk: range, results: dict[int, list[Array] | str]) -> None:
        """Append a chunk in manifest order and note that it is there."""
        kept: dict[int, list[Array]] = {}
        for row in chunk:
            result = results[row]
            if isinstance(result, str):
                entry = self.job.manifest.paths[row]
                self.skipped.append({"row": row, "entry": entry, "reason": result})
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
        """Write the note, after everything that it counts is on the disk."""
        for array in (self.rows, self.lengths, *self.layers):
            array.sync()
        note = {
            "identity": self.job.identity,
            "done": self.done,
            "left_out": self.skipped,
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
            reason = self.skipped[0]["reason"] if self.skipped else "it has no rows"
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
            "left_out": self.skipped,
            "identity": self.job.identity,
        }
        with replace_file(self.part / SUMMARY) as stream:
            json.dump(summary, stream, indent=1)
        (self.part / PROGRESS).unlink(missing_ok=True)
        os.replace(self.part, folder)
