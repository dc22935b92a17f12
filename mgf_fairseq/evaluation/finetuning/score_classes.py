"""Score a classifier on a manifest: accuracy, unweighted average recall, and which label for which.

The work behind ``mgf score`` of a ``wav2vec_classification`` checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.manifest import read_manifest
from ...inference.classifier import Classifier
from ...inference.long_audio import Skipped
from ...utils.intervals import units_of
from ..metrics import (
    Metric,
    accuracy,
    class_scores,
    confusion_matrix,
    metric_interval,
    score,
    sum_by,
    tally,
    uar,
)
from ..results import ClassScore
from .score import read_rows, read_speakers


@dataclass(frozen=True)
class Rate:
    """A number in percent with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Labeled:
    """One recording: its label and what the model says."""

    entry: str
    label: str
    predicted: str
    probability: float  # of the predicted label


@dataclass(frozen=True)
class ClassificationScore:
    """How well a manifest was classified."""

    accuracy: Rate
    uar: Rate  # unweighted average recall: the mean over labels
    interval_over: str  # what the intervals are drawn over
    labels: list[str]  # of the model
    confusion: list[list[int]]  # [true][predicted], counts
    classes: list[ClassScore]
    recordings: list[Labeled]
    failed: dict[int, str]  # row -> why it was skipped


def score_classes(
    classifier: Classifier,
    path: Path,
    labels: str | None = None,
    batch_seconds: float = 120.0,
    advance: Callable[[int], object] = lambda count: None,
) -> ClassificationScore:
    """Classify a manifest and compare with the label file beside it.

    Args:
        classifier: the model.
        path: the .tsv.
        labels: ending of the label file, if other than the one fine-tuning used.
        batch_seconds: padded audio per batch.
        advance: called with 1 after each file.

    Raises:
        ManifestError: the manifest cannot be used.
        ValueError: its labels are missing or unknown to the model, or no audio can be read.
    """
    manifest = read_manifest(path)
    manifest.require_root()
    ending = labels or classifier.ending
    truth = [row.strip() for row in read_rows(path, ending, manifest)]
    for row, label in enumerate(truth):
        if label not in classifier.labels:
            raise ValueError(
                f"{path.with_suffix(f'.{ending}')}, line {row + 1}: the model does not know the "
                f"label {label!r}; it knows {', '.join(classifier.labels[:20])}"
            )
    found: dict[int, Labeled] = {}
    failed: dict[int, str] = {}
    entries = [manifest.entry(row) for row in range(len(manifest))]
    for row, result in enumerate(classifier.run(batch_seconds).over(entries)):
        if isinstance(result, Skipped):
            failed[row] = f"{result.name}: {result.reason}"
        elif result.label is None or result.probability is None:
            failed[row] = f"{result.name}: {', '.join(result.flags)}"
        else:
            name = manifest.paths[row]
            found[row] = Labeled(name, truth[row], result.label, result.probability)
        advance(1)
    if not found:
        raise ValueError(f"{path}: nothing could be read ({failed[0]}); see mgf check")
    speakers = None if ending == "spk" else read_speakers(path, manifest)
    known = [speakers[row] for row in found] if speakers else None
    return _counted(classifier.labels, list(found.values()), known, failed)


def _counted(
    labels: list[str],
    found: list[Labeled],
    speakers: list[str] | None,
    failed: dict[int, str],
) -> ClassificationScore:
    place = {label: number for number, label in enumerate(labels)}
    truth = np.array([place[one.label] for one in found])
    predicted = np.array([place[one.predicted] for one in found])
    confusion = confusion_matrix(truth, predicted, len(labels))
    units = units_of(speakers, len(found))
    each = tally(truth, predicted, np.arange(len(found)), len(labels))
    counted = sum_by(each, units.of_utterance)

    def rate(metric: Metric) -> Rate:
        return Rate(score(metric, counted), *metric_interval(metric, [counted]))

    return ClassificationScore(
        accuracy=rate(accuracy),
        uar=rate(uar),
        interval_over=units.words,
        labels=labels,
        confusion=confusion.tolist(),
        classes=class_scores(confusion, labels),
        recordings=found,
        failed=failed,
    )
