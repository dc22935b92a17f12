"""What a task's protocol takes and returns, its version, and the result file made of it.

Between the protocols and probing.py; a result of another version is measured again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...data.caveats import read_caveats
from ...extract.folder import FeatureStore
from ...utils.intervals import units_of
from ...utils.progress import Progress
from ..labeled import LabeledManifest
from ..metrics import (
    Metric,
    Tally,
    class_scores,
    confusion_matrix,
    metric_interval,
    score,
    sum_by,
    tally,
)
from ..options import ProbeOptions
from ..results import (
    WEIGHTED_SUM,
    Embeddings,
    Provenance,
    Representation,
    SplitSize,
    TaskData,
    TaskResult,
)
from ..tasks import task_named
from ..utterances import counts_of

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """A task that is asked for, before its labels are looked at."""

    task: str
    data: Path
    options: ProbeOptions
    receptive_field: int  # samples that one frame of the upstream needs


@dataclass(frozen=True)
class TaskPlan:
    """A task on one prepared folder: its splits with their labels, and the protocol in words."""

    name: str
    metric: str
    splits: list[LabeledManifest]
    protocol: dict[str, Any]
    ending: str  # of the label files whose lines are the classes
    by_fold: bool = False  # cross-validated, rather than by train, valid and test
    segment_seconds: float | None = None  # features are means over segments encoded alone


@dataclass(frozen=True)
class Setup:
    """All that a protocol runs on."""

    plan: TaskPlan
    options: ProbeOptions
    layers: list[str]
    stores: dict[str, FeatureStore]  # by split
    sample_rate: int  # Hz, of the manifests' sample counts: the upstream's own
    device: torch.device
    progress: Progress | None = None

    @property
    def representations(self) -> list[str]:
        """Names in the order of the batched probes: the layers, then their sum."""
        return [*self.layers, *([WEIGHTED_SUM] if len(self.layers) > 1 else [])]

    def hours(self, split: LabeledManifest, rows: Sequence[int] | Index) -> float:
        """Hours of audio in some manifest rows."""
        samples = int(split.manifest.num_samples[np.asarray(rows, np.int64)].sum())
        return samples / self.sample_rate / 3600

    def size_of(self, split: LabeledManifest, rows: Index, items: int) -> SplitSize:
        """How much some manifest rows (repeats allowed) hold."""
        rows = np.unique(rows)
        hours = round(self.hours(split, rows), 4)
        return SplitSize(utterances=len(rows), hours=hours, items=items)


@dataclass(frozen=True)
class Candidate:
    """One representation with its scores on valid and its predictions on test."""

    layer: str
    pooling: str | None
    valid: dict[str, list[float]]  # metric -> per seed
    predicted: Index  # (S, N) on test

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.layer}, {self.pooling}" if self.pooling else self.layer


@dataclass(frozen=True)
class Outcome:
    """What a protocol found; from here on all tasks are alike."""

    classes: list[str]
    metrics: Mapping[str, Metric]  # the leading one first
    candidates: list[Candidate]
    chosen: int
    truth: Index  # (N,) of test
    utterance: Index  # (N,) of test, numbered from 0
    entries: list[str]  # of these utterances in the manifest
    speakers: list[str] | None  # of these utterances; None: not known
    majority: dict[str, int]  # metric -> class that chance always guesses
    sizes: dict[str, SplitSize]  # train, valid, test
    layer_weights: list[float]
    notes: list[str] = field(default_factory=list)
    embeddings: Embeddings | None = None


def folder_name(data: Path) -> str:
    """The name of a folder as its result has it, also of `.`; a link keeps its own."""
    return os.path.basename(os.path.abspath(data))


def choose(candidates: Sequence[Candidate], metric: str) -> int:
    """The candidate with the highest mean over seeds on valid; test is not looked at."""
    return int(np.argmax([np.mean(candidate.valid[metric]) for candidate in candidates]))


def majority_class(labels: Index, num_classes: int, without: Sequence[int] = ()) -> int:
    """The most frequent class of train."""
    counts = np.bincount(labels, minlength=num_classes)
    counts[list(without)] = -1
    return int(counts.argmax())


def assemble(
    setup: Setup, outcome: Outcome, data: Path, key: str, origin: Provenance
) -> TaskResult:
    """Score the predictions and put the result together."""
    plan, metrics = setup.plan, outcome.metrics
    count = len(outcome.classes)
    predicted = outcome.candidates[outcome.chosen].predicted
    tallies = _tallies(outcome, predicted)
    units = units_of(outcome.speakers, len(outcome.entries))
    by_unit = [sum_by(counted, units.of_utterance) for counted in tallies]
    low, high = metric_interval(metrics[plan.metric], by_unit)
    confusion = sum(confusion_matrix(outcome.truth, mine, count) for mine in predicted)
    assert isinstance(confusion, np.ndarray)
    classes = class_scores(confusion, outcome.classes, len(predicted))
    chance = {
        name: score(metrics[name], _tallies(outcome, np.full_like(predicted[:1], guess))[0])
        for name, guess in outcome.majority.items()
    }
    skipped = sum(len(store.skipped) for store in setup.stores.values())
    unread = [f"{skipped} file(s) could not be read and were skipped"] if skipped else []
    return TaskResult(
        **asdict(origin),
        task=plan.name,
        metric=plan.metric,
        data=TaskData(
            folder=folder_name(data),
            classes=outcome.classes,
            **outcome.sizes,
            note="; ".join([*outcome.notes, *unread, *read_caveats(data)]),
        ),
        protocol=plan.protocol,
        key=key,
        seeds=list(setup.options.seeds),
        representations=[_scored(outcome, candidate) for candidate in outcome.candidates],
        chosen=outcome.chosen,
        low=low,
        high=high,
        chance=chance,
        layer_weights=outcome.layer_weights,
        confusion=confusion.tolist(),
        per_class=classes,
        interval_over=units.words,
        utterances=counts_of(tallies, outcome.entries, outcome.speakers),
    )


def _scored(outcome: Outcome, candidate: Candidate) -> Representation:
    """A candidate with its scores on test, per seed."""
    tallies = _tallies(outcome, candidate.predicted)
    return Representation(
        name=candidate.name,
        layer=candidate.layer,
        pooling=candidate.pooling,
        valid=candidate.valid,
        test={
            name: [score(metric, t) for t in tallies] for name, metric in outcome.metrics.items()
        },
    )


def _tallies(outcome: Outcome, predicted: Index) -> list[Tally]:
    count = len(outcome.classes)
    return [tally(outcome.truth, mine, outcome.utterance, count) for mine in predicted]


def version_of(task: str) -> dict[str, int]:
    """The protocol's entry; version 1 is not written, so that its keys stay."""
    version = task_named(task).version
    return {"version": version} if version > 1 else {}
