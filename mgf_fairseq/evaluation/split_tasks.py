"""Phone and speaker classification: learn on train, choose on valid, report on test.

Protocols of the evaluation; outcome.py scores what they predict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from mgf_fairseq.data.labels import UNLABELLED

from . import scores
from .items import FrameItems, PooledItems, frame_items, segment_vectors, utterance_means
from .labelled import LabelledManifest, ProbeError, check_disjoint, check_known, read_labelled
from .outcome import (
    Asked,
    Candidate,
    Outcome,
    ProbeOptions,
    Setup,
    TaskPlan,
    choose,
    majority_class,
)
from .probe import NotFinite, ProbeConfig, TrainedProbes, predict, train_probes
from .results import Embeddings, SplitSize
from .versions import version_of

_PHONE = ProbeConfig()
_SPEAKER = ProbeConfig(batch_size=256, epoch_items=10_000, max_epochs=20)
_VALID_PART, _TEST_PART = 10, 5  # every 10th, every 5th recording of each speaker
_SPEAKER_TEST = "speaker_test"


def probe_config(base: ProbeConfig, options: ProbeOptions) -> ProbeConfig:
    """A task's settings with what a person has chosen."""
    epochs = options.max_epochs or base.max_epochs
    return replace(base, hidden=options.hidden, max_epochs=epochs)


def plan_phone(asked: Asked) -> TaskPlan:
    """Frames of train, valid and test, which share no speaker."""
    data, options = asked.data, asked.options
    test = options.test_split or "test"
    splits = [
        read_labelled(data, name, ["phn"], ["spk"], asked.receptive_field)
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


def plan_speaker(asked: Asked) -> TaskPlan:
    """Segments of train and speaker_test, or of train alone."""
    data, options = asked.data, asked.options
    train = read_labelled(data, "train", ["spk"])
    if len(set(train.labels["spk"])) < 2:
        raise ProbeError(
            f"{data}/train.spk holds one speaker, so there is nothing to tell apart: prepare a "
            "corpus of several, by mgf prepare with --speaker-level if the folders name them"
        )
    name = options.test_split or _SPEAKER_TEST
    splits = [train]
    report = f"every {_TEST_PART}th recording of each speaker of train, held out"
    if options.test_split or (data / f"{name}.tsv").is_file():
        splits.append(read_labelled(data, name, ["spk"]))
        mend = f"prepare {name} of train's speakers, or take it away to hold out a part of train"
        check_known(data / f"{name}.spk", splits[1].labels["spk"], train.labels["spk"], mend)
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


@dataclass(frozen=True)
class Parts:
    """Items of one task, split."""

    train: FrameItems | PooledItems
    valid: FrameItems | PooledItems
    test: FrameItems | PooledItems
    sizes: dict[str, SplitSize]
    notes: list[str]


def run_phone(setup: Setup) -> Outcome:
    """Train on frames and predict those of test."""
    options = setup.options
    left_out = [UNLABELLED, *options.ignore]
    classes: list[str] | None = None
    items: list[FrameItems] = []
    for split in setup.plan.splits:
        found, classes = frame_items(split, setup.stores[split.name], left_out, classes)
        items.append(found)
    assert classes is not None
    if len(classes) < 2:
        raise ProbeError(
            f"train.phn holds one class ({classes[0]}): there is nothing to tell apart"
        )
    silence = [number for number, name in enumerate(classes) if name in options.silence]
    without = scores.accuracy_without(silence)
    metrics = {"accuracy": scores.accuracy, "accuracy_no_sil": without}
    names = ("train", "valid", "test")
    sizes = {
        name: setup.size_of(split, found.utterance, len(found.labels))
        for name, split, found in zip(names, setup.plan.splits, items, strict=True)
    }
    notes = [note for found in items for note in found.notes]
    if not silence:
        notes.append("no class is silence, so both accuracies are one (--silence)")
    majority = {
        "accuracy": majority_class(items[0].labels, len(classes)),
        "accuracy_no_sil": majority_class(items[0].labels, len(classes), silence),
    }
    train, valid, test = items
    parts = Parts(train, valid, test, sizes, notes)
    outcome, _ = train_and_predict(
        setup, parts, classes, metrics, majority, probe_config(_PHONE, options)
    )
    return outcome


def run_speaker(setup: Setup) -> Outcome:
    """Train on segments and predict those of held-out recordings."""
    parts, classes = _speaker_parts(setup)
    majority = {"accuracy": majority_class(parts.train.labels, len(classes))}
    config = probe_config(_SPEAKER, setup.options)
    metrics = {"accuracy": scores.accuracy}
    outcome, trained = train_and_predict(setup, parts, classes, metrics, majority, config)
    split = setup.plan.splits[-1]
    assert isinstance(parts.test, PooledItems)
    vectors, rows = utterance_means(parts.test)
    speakers = [split.labels["spk"][row] for row in rows.tolist()]
    chosen = _embed(trained, vectors, outcome.chosen, outcome.layer_weights)
    return replace(outcome, embeddings=Embeddings(chosen, speakers, speakers))


def _speaker_parts(setup: Setup) -> tuple[Parts, list[str]]:
    train = setup.plan.splits[0]
    classes = sorted(set(train.labels["spk"]))
    position = {name: number for number, name in enumerate(classes)}

    def labelled(split: LabelledManifest) -> PooledItems:
        vectors, rows = segment_vectors(setup.stores[split.name])
        labels = [position[split.labels["spk"][row]] for row in rows.tolist()]
        return PooledItems(vectors, np.asarray(labels, np.int64), rows)

    everything = labelled(train)
    part_of = hold_out(train, separate_test=len(setup.plan.splits) > 1)
    parts = {name: _take(everything, part_of, name) for name in ("train", "valid", "test")}
    if len(setup.plan.splits) > 1:
        parts["test"] = labelled(setup.plan.splits[1])
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


def hold_out(train: LabelledManifest, separate_test: bool) -> list[str]:
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


def _take(items: PooledItems, part_of: list[str], name: str) -> PooledItems:
    kept = np.array([part_of[row] == name for row in items.utterance.tolist()], bool)
    return PooledItems(items.vectors[:, kept], items.labels[kept], items.utterance[kept])


def train_and_predict(
    setup: Setup,
    parts: Parts,
    classes: list[str],
    metrics: Mapping[str, scores.Metric],
    majority: dict[str, int],
    config: ProbeConfig,
) -> tuple[Outcome, TrainedProbes]:
    """Learn on train, and predict with every layer on valid and test."""
    trained = _trained(setup, parts, len(classes), config)
    on_valid, on_test = (predict(trained, items) for items in (parts.valid, parts.test))
    rows, utterance = np.unique(parts.test.utterance, return_inverse=True)
    tested = setup.plan.splits[-1]
    candidates = []
    for k, layer in enumerate(setup.representations):
        valid: dict[str, list[float]] = {name: [] for name in metrics}
        for mine in on_valid[:, k]:
            counted = scores.tally(parts.valid.labels, mine, parts.valid.utterance, len(classes))
            for name, metric in metrics.items():
                valid[name].append(scores.score(metric, counted))
        candidates.append(Candidate(layer, None, valid, on_test[:, k].astype(np.int64)))
    outcome = Outcome(
        classes=classes,
        metrics=metrics,
        candidates=candidates,
        chosen=choose(candidates, setup.plan.metric),
        truth=parts.test.labels,
        utterance=utterance,
        entries=[tested.manifest.paths[row] for row in rows.tolist()],
        speakers=tested.lines_of("spk", rows.tolist()),
        majority=majority,
        sizes=parts.sizes,
        layer_weights=trained.bank.layer_weights().mean(dim=0).tolist(),
        notes=parts.notes,
    )
    return outcome, trained


def _trained(setup: Setup, parts: Parts, num_classes: int, config: ProbeConfig) -> TrainedProbes:
    seeds, device = setup.options.seeds, setup.device
    try:
        return train_probes(
            parts.train, parts.valid, num_classes, seeds, config, device, setup.progress
        )
    except NotFinite as error:
        names = ", ".join(setup.representations[k] for k in error.representations)
        raise ProbeError(
            f"{setup.plan.name}: the probes of {names} never had a finite loss on valid: look for "
            "NaN in the checkpoint's weights, or for features beyond the range of float16 "
            "(--dtype float32)"
        ) from None


def _embed(
    trained: TrainedProbes, vectors: npt.NDArray[np.float32], chosen: int, weights: list[float]
) -> npt.NDArray[np.float32]:
    """(L, N, D) -> (N, D): the chosen layer, or the sum with the weights that were learnt."""
    if chosen < len(vectors):
        layer: npt.NDArray[np.float32] = vectors[chosen]
        return layer
    standardizer = trained.standardizer
    mean, scale = standardizer.mean.cpu().numpy(), standardizer.scale.cpu().numpy()
    share = np.asarray(weights, np.float32)
    return np.tensordot(share, (vectors - mean) * scale, axes=1)
