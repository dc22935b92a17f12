"""Units of manifests: features of one layer, k-means on the first manifest, files as HuBERT reads.

Features are computed twice, once to fit and once to label, and never written: the frames to fit are
those of some utterances of the first manifest, drawn by the seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from ..data.label_format import UNLABELED
from ..data.label_lines import read_label_lines
from ..data.manifest import Manifest, read_manifest
from ..export.folder import new_folder, write_json
from ..extract.batches import Job, extract_batch, read_ahead
from ..extract.store import choose_layers
from ..extract.upstream import Upstream
from ..utils.progress import Progress, silent
from .kmeans import Frames, UnitsError, fit, nearest
from .quality import Quality, count_pairs, quality

MARKER = "units.json"
CENTROIDS = "centroids.npy"
_ROWS_AT_ONCE = 512  # whose units are in memory
_TOLERATED = 2  # frames by which labels and units may differ: rounding at the end


@dataclass(frozen=True)
class Asked:
    """What is to be made."""

    manifests: tuple[Path, ...]  # the first one is fitted
    layer: str
    classes: int = 100
    seed: int = 1
    fit_hours: float = 3.0
    batch_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise UnitsError(f"--classes {self.classes} must be at least 2")
        for name, value in (("fit-hours", self.fit_hours), ("batch-seconds", self.batch_seconds)):
            if value <= 0:
                raise UnitsError(f"--{name} {value:g} must be above 0")
        stems = [path.stem for path in self.manifests]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice:
            raise UnitsError(f"two manifests are called {twice!r}; give them to two commands")


@dataclass(frozen=True)
class Split:
    """What was written of one manifest."""

    name: str
    rows: int
    frames: int
    used: int  # units that occur
    skipped: dict[int, str]  # manifest row, from 0 -> why it has no units
    quality: Quality | None  # where a .phn file is beside the manifest


@dataclass(frozen=True)
class Made:
    """What was written in all."""

    dest: Path
    layer: str
    classes: int
    frame_rate: float  # units per second: hubert_pretraining's task.label_rate
    fitted_frames: int
    splits: list[Split]


def make_units(upstream: Upstream, asked: Asked, dest: Path, progress: Progress = silent) -> Made:
    """Write the folder `dest`: manifests, ``.km`` files, ``dict.km.txt``, centroids, a summary.

    Raises:
        UnitsError: nothing can be clustered, or labels do not fit the frames.
        FeatureError: there is no such layer, or features are not finite.
        ManifestError: a manifest cannot be used, or its .phn has another number of lines.
    """
    (layer,) = choose_layers(upstream, [asked.layer])
    jobs = [_job(upstream, path, layer, asked.batch_seconds) for path in asked.manifests]
    labels = [_phones(job) for job in jobs]  # a file that does not fit is said before any work
    with new_folder(dest, MARKER, "mgf units") as folder:
        frames = _frames_to_fit(jobs[0], asked, progress)
        progress("cluster", 0, 1)
        centroids = fit(frames, asked.classes, asked.seed)
        progress("cluster", 1, 1)
        splits = [
            _write_split(job, phones, centroids, folder, progress)
            for job, phones in zip(jobs, labels, strict=True)
        ]
        lines = "".join(f"{unit} 1\n" for unit in range(asked.classes))
        (folder / "dict.km.txt").write_text(lines, encoding="utf-8")
        np.save(folder / CENTROIDS, centroids)
        made = Made(dest, layer, asked.classes, upstream.frame_rate, len(frames), splits)
        summary = {**asdict(made), "dest": None, "seed": asked.seed, "fit_hours": asked.fit_hours}
        source = {"kind": upstream.kind, "fingerprint": upstream.fingerprint, **upstream.info}
        write_json(folder / MARKER, {**summary, "upstream": source})
    return made


def _job(upstream: Upstream, path: Path, layer: str, batch_seconds: float) -> Job:
    manifest = read_manifest(path)
    manifest.require_root()
    rows = range(len(manifest))
    return Job(upstream, manifest, str(path), rows, [layer], "float32", batch_seconds, {})


def _frames_to_fit(job: Job, asked: Asked, progress: Progress) -> Frames:
    """(N, D) frames of whole utterances, drawn until they hold the hours asked for."""
    counts = job.manifest.num_samples
    drawn = np.random.default_rng(asked.seed).permutation(len(counts))
    before = np.cumsum(counts[drawn]) - counts[drawn]
    limit = asked.fit_hours * 3600 * job.upstream.sample_rate
    rows = np.sort(drawn[before < limit]).tolist()
    found: list[Frames] = []
    reason = ""
    for _, features in _features(job, rows, "features to cluster", progress):
        if isinstance(features, str):
            reason = features
        else:
            found.append(features)
    if not found:
        raise UnitsError(f"{job.manifest_path}: nothing can be read: {reason}")
    return np.concatenate(found)


def _features(
    job: Job, rows: Sequence[int], what: str, progress: Progress
) -> Iterator[tuple[int, npt.NDArray[np.float32] | str]]:
    """Rows in their order, each with its (T, D), or the reason why it has none."""
    progress(what, 0, len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[start : start + _ROWS_AT_ONCE]
        results: dict[int, list[npt.NDArray[np.float32]] | str] = {}
        for batch, waveforms in read_ahead(job, chunk):
            results |= extract_batch(job, batch, waveforms)
            progress(what, start + len(results), len(rows))
        for row in chunk:
            result = results[row]
            yield row, result if isinstance(result, str) else result[0]


@dataclass
class _Phones:
    """The ``.phn`` file beside a manifest: a label per frame."""

    path: Path
    rows: list[list[str]]
    numbers: dict[str, int]


def _phones(job: Job) -> _Phones | None:
    path = Path(job.manifest_path).with_suffix(".phn")
    if not path.is_file():
        return None
    found = read_label_lines(Path(job.manifest_path), "phn", len(job.manifest))
    lines = [line.split() for line in found]
    names = sorted({name for line in lines for name in line} - {UNLABELED})
    return _Phones(path, lines, {name: number for number, name in enumerate(names)})


def _write_split(
    job: Job, phones: _Phones | None, centroids: Frames, folder: Path, progress: Progress
) -> Split:
    """Write a manifest and its units, line for line; rows that have none are in neither."""
    name = Path(job.manifest_path).stem
    counts = np.zeros((len(centroids), len(phones.numbers) if phones else 1), np.int64)
    used, frames, skipped = np.zeros(len(centroids), bool), 0, {}
    with _lines(folder / f"{name}.tsv") as manifest, _lines(folder / f"{name}.km") as file:
        manifest.write(f"{os.path.abspath(job.manifest.root)}\n")
        for row, features in _features(job, job.rows, f"units of {name}", progress):
            if isinstance(features, str):
                skipped[row] = features
                continue
            units = nearest(features, centroids)
            manifest.write(_line(job.manifest, row))
            file.write(" ".join(map(str, units.tolist())) + "\n")
            used[units] = True
            frames += len(units)
            if phones:
                counts += _counted(units, phones, row, counts.shape)
    if len(skipped) == len(job.rows):
        raise UnitsError(f"{job.manifest_path}: nothing can be read: {skipped[0]}")
    measured = quality(counts) if phones and counts.sum() else None
    return Split(name, len(job.rows) - len(skipped), frames, int(used.sum()), skipped, measured)


def _line(manifest: Manifest, row: int) -> str:
    return f"{manifest.paths[row]}\t{int(manifest.num_samples[row])}\n"


def _lines(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", newline="\n")


def _counted(
    units: npt.NDArray[np.int64], phones: _Phones, row: int, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Count the pairs of a row's units and phones; frames without a label are not counted."""
    line = phones.rows[row]
    if abs(len(line) - len(units)) > _TOLERATED:
        raise UnitsError(
            f"{phones.path} line {row + 1}: {len(line)} labels for {len(units)} frames, so they "
            "are of another frame rate; move the file away, or run mgf prepare again"
        )
    numbers = np.array([phones.numbers.get(name, -1) for name in line[: len(units)]], np.int64)
    units = units[: len(numbers)]
    known = numbers >= 0
    return count_pairs(units[known], numbers[known], *shape)
