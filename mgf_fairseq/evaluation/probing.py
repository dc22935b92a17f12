"""The probed tasks: what each needs, plans with a key, runs that give a result, files of a result.

The evaluation's front door: `plan_probe`, `run_probe`, `write_probe`. Protocols are
the files of evaluation/protocols; held_out.py there is what phone, speaker and label share.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..extract.folder import FeatureStore
from ..extract.store import cache_features, choose_layers
from ..extract.upstream import Upstream
from ..utils.progress import Progress
from .labeled import ProbeError
from .options import ProbeOptions
from .overlap import find_overlap
from .protocols.base import Asked, Outcome, Setup, TaskPlan, assemble
from .protocols.emotion import labeled_splits, plan_emotion, run_folds
from .protocols.label import is_label_name, labels_of, plan_label, run_label
from .protocols.phone import plan_phone, run_phone
from .protocols.speaker import plan_speaker, run_speaker
from .provenance import provenance
from .result_files import write_embeddings, write_record
from .result_folders import check_folder, describe_upstream
from .results import UPSTREAM_FILE, Embeddings, TaskResult
from .tasks import PROBE_TASKS, TASKS


@dataclass(frozen=True)
class _Protocol:
    plan: Callable[[Asked], TaskPlan]
    run: Callable[[Setup], Outcome]


_PROTOCOLS = {
    "phone": _Protocol(plan_phone, run_phone),
    "speaker": _Protocol(plan_speaker, run_speaker),
    "emotion": _Protocol(plan_emotion, run_folds),
}
assert tuple(_PROTOCOLS) == PROBE_TASKS
_LABEL = _Protocol(plan_label, run_label)


def protocol_of(task: str, data: Path) -> _Protocol:
    """The protocol of a task, which may be the name of a label of utterances.

    Raises:
        ProbeError: it is neither.
    """
    if task in _PROTOCOLS:
        return _PROTOCOLS[task]
    if not is_label_name(task) or not labeled_splits(data, task):
        there = labels_of(data) if data.is_dir() else []
        found = f", or a label of {data} ({', '.join(there)})" if there else ""
        raise ProbeError(
            f"no task {task!r}: choose from {', '.join(TASKS)}{found}; "
            f"mgf prepare SOURCE --dest {data} --label NAME makes a label of a column of the table"
        )
    return _LABEL


@dataclass(frozen=True)
class ProbePlan:
    """A task that has been checked as far as that goes without features."""

    upstream: Upstream
    data: Path
    cache: Path
    options: ProbeOptions
    layers: list[str]
    task: TaskPlan
    features_of: Upstream  # the upstream, or means over segments that it hears alone
    key: str  # equal keys, equal result


@dataclass(frozen=True)
class ProbeRun:
    """What a task leaves: its result, and embeddings where there is a picture to draw."""

    result: TaskResult
    embeddings: Embeddings | None


def plan_probe(
    task: str,
    upstream: Upstream,
    data: Path,
    cache: Path,
    options: ProbeOptions,
    progress: Progress | None = None,
) -> ProbePlan:
    """Check a task's data and say by a key what decides its result, before anything long runs.

    Args:
        task: one of ``PROBE_TASKS``, or a label of the folder (``<split>.<task>``).
        upstream: what is probed.
        data: a folder of ``mgf prepare``.
        cache: folder of features; what is known of audio files is kept there.
        options: seeds, layers, and what else may be chosen.
        progress: called as audio files are read for the first time.

    Raises:
        ProbeError: the folder lacks a split or labels, they do not fit the task's claims, or
            segments are too short for one frame.
    """
    layers = choose_layers(upstream, options.layers)
    plan = protocol_of(task, data).plan(
        Asked(task, data, options, upstream.geometry.receptive_field)
    )
    features_of = _in_segments(upstream, plan.segment_seconds)
    decided = [features_of.fingerprint, layers, task, plan.protocol, options.seeds]
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode())
    for split in plan.splits:
        digest.update(split.audio_key(cache, progress).encode())
        digest.update(json.dumps(split.labels, sort_keys=True).encode())
    key = digest.hexdigest()[:20]
    return ProbePlan(upstream, data, cache, options, layers, plan, features_of, key)


def _in_segments(upstream: Upstream, seconds: float | None) -> Upstream:
    if seconds is None:
        return upstream
    try:
        return upstream.of_segments(seconds)
    except ValueError as error:
        raise ProbeError(f"segment_seconds={seconds:g}: {error}") from None


def run_probe(plan: ProbePlan, progress: Progress | None = None) -> ProbeRun:
    """Take the features from the cache or extract them, train the probes, and score them."""
    started = time.monotonic()
    stores: dict[str, FeatureStore] = {}
    for split in plan.task.splits:
        path = plan.data / f"{split.name}.tsv"
        stores[split.name] = cache_features(
            plan.features_of, path, plan.cache, plan.layers, plan.options.dtype, progress=progress
        )
    device = torch.device(plan.options.device)
    rate = plan.upstream.sample_rate
    setup = Setup(plan.task, plan.options, plan.layers, stores, rate, device, progress)
    outcome = protocol_of(plan.task.name, plan.data).run(setup)
    origin = provenance(started, plan.options.device)
    result = assemble(setup, outcome, plan.data, plan.key, origin)
    overlap = find_overlap(plan.upstream, _tested(plan.task, outcome))
    result = dataclasses.replace(result, overlap=overlap)
    if result.layer_weights:  # a layer that was not chosen has no part in the sum
        shares = dict(zip(plan.layers, result.layer_weights, strict=True))
        weights = [shares.get(name, 0.0) for name in plan.upstream.layer_names]
        result = dataclasses.replace(result, layer_weights=weights)
    return ProbeRun(result, outcome.embeddings)


def _tested(plan: TaskPlan, outcome: Outcome) -> list[str]:
    """The recordings that a task was scored on, each once."""
    entries = set(outcome.entries)
    recordings = [
        split.recording(row)
        for split in (plan.splits if plan.by_fold else plan.splits[-1:])
        for row in range(len(split.manifest))
        if split.manifest.paths[row] in entries
    ]
    return list(dict.fromkeys(recordings))


def write_probe(folder: Path, plan: ProbePlan, run: ProbeRun, group: str | None = None) -> Path:
    """Write a task's files into a result folder, its JSON last, and return the JSON's path."""
    check_folder(folder, plan.upstream)
    folder.mkdir(parents=True, exist_ok=True)
    if run.embeddings is not None:
        write_embeddings(folder / f"{plan.task.name}.npz", run.embeddings)
    if not (folder / UPSTREAM_FILE).exists():
        record = describe_upstream(plan.upstream, plan.upstream.layer_names, folder.name, group)
        write_record(folder / UPSTREAM_FILE, record)
    path = folder / f"{plan.task.name}.json"
    write_record(path, run.result)
    return path
