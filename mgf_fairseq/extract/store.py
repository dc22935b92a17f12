"""Features on disk: cached by content for the evaluations, or written where a person wants them.

``cache_features`` and ``write_features`` make the same folders (folder.py); the first finds
its own place by what decides the features, the second refuses a place that holds others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.content_digests import audio_key
from ..data.manifest import read_manifest
from ..utils.folder_lock import folder_lock
from ..utils.progress import Progress
from .batches import Job
from .folder import PROGRESS, SUMMARY, FeatureError, FeatureStore, open_features
from .upstream import Upstream
from .writer import write_folder

__all__ = [
    "FeatureError",
    "FeatureStore",
    "cache_features",
    "choose_layers",
    "open_features",
    "write_features",
]

DTYPES = ("float16", "float32")
BATCH_SECONDS = 60.0
_DIGESTS = ".digests"  # folder beside the features: what is known of audio files


def choose_layers(upstream: Upstream, layers: Sequence[str] | None) -> list[str]:
    """Names of the chosen layers, in the upstream's order; a number or ``last`` names one too.

    Raises:
        FeatureError: the upstream has no such layer.
    """
    names = upstream.layer_names
    if layers is None:
        return names
    wanted = set()
    for layer in layers:
        name = names[-1] if layer == "last" else f"layer {layer}" if layer.isdigit() else layer
        if name not in names:
            there = ", ".join(names)
            raise FeatureError(f"{upstream.info['name']}: no layer {layer!r}; there are {there}")
        wanted.add(name)
    if not wanted:
        raise FeatureError("no layer is chosen; name one, or leave the choice out for all")
    return [name for name in names if name in wanted]


def cache_features(
    upstream: Upstream,
    manifest_path: str | Path,
    cache_dir: str | Path,
    layers: Sequence[str] | None = None,
    dtype: str = "float16",
    *,
    batch_seconds: float = BATCH_SECONDS,
    progress: Progress | None = None,
) -> FeatureStore:
    """Features of a manifest from the cache, extracted first where they are not there.

    The key covers what the upstream computes, the contents of the audio files, layers and dtype,
    so a cache never has to be emptied by hand.

    Args:
        layers: names of layers; all if None.
        dtype: float16 or float32, of what is stored.
        batch_seconds: padded audio per batch; decides speed and memory, not the features.
        progress: called as (what is being done, done, of how much).

    Raises:
        FeatureError: nothing can be extracted.
        ManifestError: the manifest cannot be used.
    """
    cache_dir = Path(cache_dir)
    names = choose_layers(upstream, layers)
    job = _job(upstream, manifest_path, cache_dir, names, dtype, None, batch_seconds, progress)

    def place(held: list[str]) -> Path:
        text = json.dumps({**job.identity, "layers": held}, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        return cache_dir / f"{Path(manifest_path).stem}-{upstream.kind}-{key}"

    everything = place(upstream.layer_names)
    if everything.is_dir():
        return replace(open_features(everything), layer_names=names)
    return _ensure(job, place(names), progress)


def write_features(
    upstream: Upstream,
    manifest_path: str | Path,
    dest: str | Path,
    layers: Sequence[str] | None = None,
    dtype: str = "float32",
    *,
    rows: range | None = None,
    batch_seconds: float = BATCH_SECONDS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> FeatureStore:
    """Write the features of a manifest, or of a stretch of its rows, to the folder ``dest``.

    Resumes where an interrupted call stopped; does nothing where the same features exist.

    Args:
        overwrite: replace other features in ``dest``.
        layers, dtype, batch_seconds, progress: as in ``cache_features``.

    Raises:
        FeatureError: nothing can be extracted, or ``dest`` holds something else.
        ManifestError: the manifest cannot be used.
    """
    dest = Path(dest)
    names = choose_layers(upstream, layers)
    job = _job(upstream, manifest_path, dest.parent, names, dtype, rows, batch_seconds, progress)
    return _ensure(job, dest, progress, overwrite)


def _job(
    upstream: Upstream,
    manifest_path: str | Path,
    base: Path,
    layers: list[str],
    dtype: str,
    rows: range | None,
    batch_seconds: float,
    progress: Progress | None,
) -> Job:
    if dtype not in DTYPES:
        raise FeatureError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    if batch_seconds <= 0:
        raise FeatureError(f"batch_seconds={batch_seconds} must be above 0")
    manifest = read_manifest(manifest_path)
    manifest.require_root()
    rows = range(len(manifest)) if rows is None else rows
    name = hashlib.sha256(str(Path(manifest_path).resolve()).encode()).hexdigest()[:16]
    identity: dict[str, Any] = {
        "upstream": upstream.fingerprint,
        "audio": audio_key(manifest, rows, base / _DIGESTS / f"{name}.tsv", progress),
        "layers": layers,
        "dtype": dtype,
    }
    longest = int(manifest.num_samples[rows.start : rows.stop].max(initial=0))
    if pieces := upstream.pieces(longest):
        identity["pieces"] = pieces
    path = str(manifest_path)
    return Job(upstream, manifest, path, rows, layers, dtype, batch_seconds, identity)


def _ensure(
    job: Job, folder: Path, progress: Progress | None, overwrite: bool = False
) -> FeatureStore:
    """Open a folder that holds what the job says, after making it if need be."""
    with folder_lock(folder):
        if overwrite:
            _remove_other(job, folder / SUMMARY)
            _remove_other(job, folder.with_name(f"{folder.name}.part") / PROGRESS)
        if not folder.exists():
            write_folder(job, folder, progress)
    store = open_features(folder)
    held = store.summary["identity"]
    names = [*job.identity, *(name for name in held if name not in job.identity)]
    differing = [name for name in names if held.get(name) != job.identity.get(name)]
    if differing:
        raise FeatureError(
            f"{folder}: holds features of another {' and '.join(differing)}; write elsewhere, "
            "or overwrite them"
        )
    return store


def _remove_other(job: Job, note: Path) -> None:
    """Remove the folder of a note about other features than the job's."""
    if note.is_file() and json.loads(note.read_text(encoding="utf-8"))["identity"] != job.identity:
        shutil.rmtree(note.parent)
