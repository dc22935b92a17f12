"""Phone classification: train on train, choose on valid, report on test, one label per frame.

A protocol of the evaluation; base.py assembles its result.
"""

from __future__ import annotations

from dataclasses import asdict

from ...data.label_format import UNLABELED
from .. import metrics as scores
from ..labeled import ProbeError, check_disjoint, read_labeled
from ..probes.examples import FrameExamples, frame_examples
from ..probes.trainer import ProbeConfig
from .base import Asked, Outcome, Setup, TaskPlan, majority_class, version_of
from .held_out import Parts, probe_config, train_and_predict

_PHONE = ProbeConfig()


def plan_phone(asked: Asked) -> TaskPlan:
    """Frames of train, valid and test, which share no speaker."""
    data, options = asked.data, asked.options
    test = options.test_split or "test"
    splits = [
        read_labeled(data, name, ["phn"], ["spk"], asked.receptive_field)
        for name in ("train", "valid", test)
    ]
    protocol = {
        "probe": options.probe_name,
        "items": "one label per encoder frame",
        "left out": [*options.ignore, "frames without a label"],
        "silence": list(options.silence),
        "splits": f"learn on train, choose the layer on valid, report on {test}",
        "disjoint": check_disjoint(splits, options.disjoint),
        "features": "standardized per dimension by train",
        "weighted sum": "softmax weights over the standardized layers, learnt with the probe",
        "training": asdict(probe_config(_PHONE, options)),
        **options.stored,
        **version_of("phone"),
    }
    return TaskPlan("phone", "accuracy", splits, protocol, "phn")


def run_phone(setup: Setup) -> Outcome:
    """Train on frames and predict those of test."""
    options = setup.options
    ignored = [UNLABELED, *options.ignore]
    classes: list[str] | None = None
    examples: list[FrameExamples] = []
    for split in setup.plan.splits:
        found, classes = frame_examples(split, setup.stores[split.name], ignored, classes)
        examples.append(found)
    assert classes is not None
    if len(classes) < 2:
        raise ProbeError(f"train.phn holds one class ({classes[0]}): there is nothing to classify")
    silence = [number for number, name in enumerate(classes) if name in options.silence]
    without = scores.accuracy_without(silence)
    metrics = {"accuracy": scores.accuracy, "accuracy_no_sil": without}
    names = ("train", "valid", "test")
    sizes = {
        name: setup.size_of(split, found.utterance, len(found.labels))
        for name, split, found in zip(names, setup.plan.splits, examples, strict=True)
    }
    notes = [note for found in examples for note in found.notes]
    if not silence:
        notes.append("no class is silence, so both accuracies are one (--silence)")
    majority = {
        "accuracy": majority_class(examples[0].labels, len(classes)),
        "accuracy_no_sil": majority_class(examples[0].labels, len(classes), silence),
    }
    train, valid, test = examples
    parts = Parts(train, valid, test, sizes, notes)
    outcome, _ = train_and_predict(
        setup, parts, classes, metrics, majority, probe_config(_PHONE, options)
    )
    return outcome
