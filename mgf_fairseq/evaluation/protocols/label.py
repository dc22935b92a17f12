"""Any label of utterances as a task: languages, keywords, dialects, by the name of its files.

A protocol of the evaluation: by train, valid and test where all three have the label, else by
leaving folds or speakers out (emotion.py).
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...prepare.label_files import LABEL_KINDS
from .. import metrics
from ..labeled import (
    LabeledManifest,
    ProbeError,
    check_disjoint,
    check_known,
    prepare_command,
    read_labeled,
)
from ..probes.examples import PooledExamples, pool
from ..probes.trainer import ProbeConfig
from .base import Asked, Outcome, Setup, TaskPlan, majority_class
from .emotion import labeled_splits, plan_folds, run_folds
from .held_out import Parts, probe_config, train_and_predict

_CONFIG = ProbeConfig(batch_size=256, epoch_items=10_000, max_epochs=20)
_METRICS = {"accuracy": metrics.accuracy, "uar": metrics.uar}
# Endings that are no label of utterances, and what is asked for them.
_TAKEN = {"tsv", "txt", "json", "md", *LABEL_KINDS}
_POOLING = "mean"


def is_label_name(name: str) -> bool:
    """Whether a task's name can be the ending of label files."""
    return re.fullmatch(r"[A-Za-z][\w-]*", name) is not None and name not in _TAKEN


def labels_of(data: Path) -> list[str]:
    """The labels of utterances that a prepared folder has beyond the built-in kinds."""
    manifests = {path.stem for path in data.glob("*.tsv")}
    endings = {
        path.suffix[1:] for path in data.iterdir() if path.is_file() and path.stem in manifests
    }
    return sorted(ending for ending in endings if is_label_name(ending))


def plan_label(asked: Asked) -> TaskPlan:
    """By splits where train, valid and test have the label and no folds are given."""
    data, name = asked.data, asked.task
    names = labeled_splits(data, name)
    if not names:
        raise ProbeError(
            f"{data} has no .{name} labels beside a manifest: {prepare_command(data, [name])} "
            "writes them, from a column of the table"
        )
    wanted = ("train", "valid", asked.options.test_split or "test")
    if not all(split in names for split in wanted) or any(data.glob("*.fold")):
        return plan_folds(asked, name, "accuracy")
    splits = [read_labeled(data, split, [name], ["spk"]) for split in wanted]
    classes = sorted(set(splits[0].labels[name]))
    if len(classes) < 2:
        raise ProbeError(f"{data}/train.{name} holds one class ({classes[0]}): nothing to classify")
    for split in splits[1:]:
        path = data / f"{split.name}.{name}"
        check_known(path, split.labels[name], classes, "give train utterances of every class")
    protocol = {
        "probe": asked.options.probe_name,
        "items": f"one vector per utterance, {_POOLING} over its frames",
        "splits": f"learn on train, choose the layer on valid, report on {wanted[2]}",
        "disjoint": _disjoint(splits),
        "features": "standardized per dimension by train",
        "weighted sum": "softmax weights over the standardized layers, learnt with the probe",
        "training": asdict(probe_config(_CONFIG, asked.options)),
        **asked.options.stored,
    }
    return TaskPlan(name, "accuracy", splits, protocol, name)


def _disjoint(splits: list[LabeledManifest]) -> str:
    """What the splits share: recordings never; speakers may be, and it is said."""
    recordings = check_disjoint(splits, "utterances")
    if not all("spk" in split.labels for split in splits):
        return f"{recordings}; speakers are not known, so they may be in several"
    speakers = [set(split.labels["spk"]) for split in splits]
    shared = len(speakers[2] & (speakers[0] | speakers[1]))
    if not shared and not speakers[0] & speakers[1]:
        return "no recording and no speaker in two splits"
    return (
        f"{recordings}; {shared} of {len(speakers[2])} speakers of test are in train or valid too"
    )


def run_label(setup: Setup) -> Outcome:
    """Train on pooled utterances and predict those of test."""
    plan = setup.plan
    if plan.by_fold:
        return run_folds(setup)
    classes = sorted(set(plan.splits[0].labels[plan.ending]))
    position = {name: number for number, name in enumerate(classes)}
    parts = []
    for split in plan.splits:
        vectors, rows = pool(setup.stores[split.name], _POOLING)
        labels = [position[split.labels[plan.ending][row]] for row in rows.tolist()]
        parts.append(PooledExamples(vectors, np.asarray(labels, np.int64), rows))
    sizes = {
        name: setup.size_of(split, found.utterance, len(found.labels))
        for name, split, found in zip(("train", "valid", "test"), plan.splits, parts, strict=True)
    }
    train, valid, test = parts
    disjoint = plan.protocol["disjoint"]
    notes = [] if "no speaker in two" in disjoint else [disjoint]
    majority = dict.fromkeys(_METRICS, majority_class(train.labels, len(classes)))
    config = probe_config(_CONFIG, setup.options)
    outcome, _ = train_and_predict(
        setup, Parts(train, valid, test, sizes, notes), classes, _METRICS, majority, config
    )
    return outcome
