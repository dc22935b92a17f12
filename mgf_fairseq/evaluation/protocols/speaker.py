"""Speaker classification: utterances of each speaker are held out for valid and test.

A protocol of the evaluation; base.py assembles its result.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt

from .. import metrics as scores
from ..labeled import LabeledManifest, ProbeError, check_disjoint, check_known, read_labeled
from ..probes.examples import PooledExamples, segment_vectors, utterance_means
from ..probes.trainer import ProbeConfig, TrainedProbes
from ..results import Embeddings
from .base import Asked, Outcome, Setup, TaskPlan, majority_class, version_of
from .held_out import Parts, probe_config, train_and_predict

_SPEAKER = ProbeConfig(batch_size=256, epoch_items=10_000, max_epochs=20)
_VALID_PART, _TEST_PART = 10, 5  # every 10th, every 5th recording of each speaker
_SPEAKER_TEST = "speaker_test"


def plan_speaker(asked: Asked) -> TaskPlan:
    """Segments of train and speaker_test, or of train alone."""
    data, options = asked.data, asked.options
    train = read_labeled(data, "train", ["spk"])
    if len(set(train.labels["spk"])) < 2:
        raise ProbeError(
            f"{data}/train.spk holds one speaker, so there is nothing to classify: prepare a "
            "corpus of several, by mgf prepare with --speaker-level if the folders name them"
        )
    name = options.test_split or _SPEAKER_TEST
    splits = [train]
    report = f"every {_TEST_PART}th recording of each speaker of train, held out"
    if options.test_split or (data / f"{name}.tsv").is_file():
        splits.append(read_labeled(data, name, ["spk"]))
        fix = f"prepare {name} of train's speakers, or take it away to hold out a part of train"
        check_known(data / f"{name}.spk", splits[1].labels["spk"], train.labels["spk"], fix)
        report = name
    protocol = {
        "probe": options.probe_name,
        "items": f"mean over segments of {options.segment_seconds:g} s, each encoded alone; a "
        "remainder is left out",
        "splits": f"learn on train, choose the layer on every {_VALID_PART}th recording of each "
        f"speaker of train, report on {report}",
        "disjoint": check_disjoint(splits, "utterances"),
        "features": "standardized per dimension by train",
        "weighted sum": "softmax weights over the standardized layers, learnt with the probe",
        "training": asdict(probe_config(_SPEAKER, options)),
        **options.stored,
        **version_of("speaker"),
    }
    seconds = options.segment_seconds
    return TaskPlan("speaker", "accuracy", splits, protocol, "spk", segment_seconds=seconds)


def run_speaker(setup: Setup) -> Outcome:
    """Train on segments and predict those of held-out recordings."""
    parts, classes = _speaker_parts(setup)
    majority = {"accuracy": majority_class(parts.train.labels, len(classes))}
    config = probe_config(_SPEAKER, setup.options)
    metrics = {"accuracy": scores.accuracy}
    outcome, trained = train_and_predict(setup, parts, classes, metrics, majority, config)
    split = setup.plan.splits[-1]
    assert isinstance(parts.test, PooledExamples)
    vectors, rows = utterance_means(parts.test)
    speakers = [split.labels["spk"][row] for row in rows.tolist()]
    chosen = _embed(trained, vectors, outcome.chosen, outcome.layer_weights)
    return replace(outcome, embeddings=Embeddings(chosen, speakers, speakers))


def _speaker_parts(setup: Setup) -> tuple[Parts, list[str]]:
    train = setup.plan.splits[0]
    classes = sorted(set(train.labels["spk"]))
    position = {name: number for number, name in enumerate(classes)}

    def labeled(split: LabeledManifest) -> PooledExamples:
        vectors, rows = segment_vectors(setup.stores[split.name])
        labels = [position[split.labels["spk"][row]] for row in rows.tolist()]
        return PooledExamples(vectors, np.asarray(labels, np.int64), rows)

    everything = labeled(train)
    part_of = hold_out(train, separate_test=len(setup.plan.splits) > 1)
    parts = {name: _take(everything, part_of, name) for name in ("train", "valid", "test")}
    if len(setup.plan.splits) > 1:
        parts["test"] = labeled(setup.plan.splits[1])
    missing = [classes[k] for k in set(range(len(classes))) - set(parts["train"].labels.tolist())]
    if missing or not len(parts["valid"].labels) or not len(parts["test"].labels):
        who = f"{missing[0]} has" if missing else "all speakers together have"
        raise ProbeError(
            f"{train.data}/train: {who} too few recordings to hold some out for valid and test: "
            "prepare more of each speaker"
        )
    sizes = {
        name: setup.size_of(
            setup.plan.splits[-1] if name == "test" else train, p.utterance, len(p.labels)
        )
        for name, p in parts.items()
    }
    return Parts(**parts, sizes=sizes, notes=[]), classes


def hold_out(train: LabeledManifest, separate_test: bool) -> list[str]:
    """Part of each row: whole recordings of each speaker, counted in manifest order."""
    parts: dict[tuple[str, str], str] = {}
    seen: dict[str, int] = {}
    result = []
    for row, speaker in enumerate(train.labels["spk"]):
        recording = (speaker, train.recording(row))
        if recording not in parts:
            number = seen[speaker] = seen.get(speaker, 0) + 1
            held = "test" if not separate_test and number % _TEST_PART == 2 else "train"
            parts[recording] = "valid" if number % _VALID_PART == 4 else held
        result.append(parts[recording])
    return result


def _take(examples: PooledExamples, part_of: list[str], name: str) -> PooledExamples:
    kept = np.array([part_of[row] == name for row in examples.utterance.tolist()], bool)
    return PooledExamples(
        examples.vectors[:, kept], examples.labels[kept], examples.utterance[kept]
    )


def _embed(
    trained: TrainedProbes, vectors: npt.NDArray[np.float32], chosen: int, weights: list[float]
) -> npt.NDArray[np.float32]:
    """(L, N, D) -> (N, D): the chosen layer, or the sum with the weights that were learned."""
    if chosen < len(vectors):
        layer: npt.NDArray[np.float32] = vectors[chosen]
        return layer
    standardizer = trained.standardizer
    mean, scale = standardizer.mean.cpu().numpy(), standardizer.scale.cpu().numpy()
    share = np.asarray(weights, np.float32)
    return np.tensordot(share, (vectors - mean) * scale, axes=1)
