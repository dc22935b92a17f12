"""The part of `mgf score` for classifiers: accuracy, recall of each label, and the confusions.

score.py has the options; evaluation/finetuning/score_classes.py counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.atomic import replace_file

if TYPE_CHECKING:
    from ..evaluation.finetuning.score_classes import ClassificationScore

_MOST_COLUMNS = 20  # labels up to which all counts are printed
HEAD = "entry\tlabel\tpredicted\tprobability"


def run_classes(args: argparse.Namespace, checkpoint: Path, device: str) -> int:
    """Score a classifier, print the result, and return 0."""
    from ..data.manifest import read_manifest
    from ..evaluation.finetuning.score_classes import score_classes
    from ..inference.classifier import Classifier
    from ..utils.progress import bar

    total = len(read_manifest(args.manifest))
    classifier = Classifier.load(checkpoint, args.dict, device)
    with bar(total=total, unit="utt", desc="classify", leave=False) as shown:
        found = score_classes(
            classifier, args.manifest, args.labels, args.batch_seconds, shown.update
        )
    for row, reason in sorted(found.failed.items()):
        print(f"skipped: line {row + 2}: {reason}")
    print("\n".join(report(found, args.worst)))
    corpus = dataclasses.asdict(found)
    recordings = corpus.pop("recordings")
    if args.dest:
        _write(args.dest, corpus, recordings)
    args.result = {
        "checkpoint": checkpoint,
        "manifest": args.manifest,
        "corpus": corpus,
        "dest": args.dest,
    }
    return 0


def report(found: ClassificationScore, worst: int) -> list[str]:
    """The lines that `mgf score` prints for a classifier."""
    wrong = [one for one in found.recordings if one.label != one.predicted]
    wrong.sort(key=lambda one: -one.probability)
    lines = [f"worst {min(worst, len(wrong))} of {len(wrong)} wrong ones:"] if wrong else []
    lines += [
        f"  {one.entry}  {one.label}, taken for {one.predicted} ({one.probability:.2f})"
        for one in wrong[:worst]
    ]
    skipped = f", {len(found.failed)} skipped" if found.failed else ""
    lines.append(f"recordings   {len(found.recordings)}{skipped}, {len(found.labels)} labels")
    for name, rate in (("accuracy", found.accuracy), ("UAR", found.uar)):
        bounds = f"(95 %: {rate.low:.2f} to {rate.high:.2f})"
        lines.append(f"{name:<12} {rate.value:.2f} %  {bounds}")
    lines.append(f"intervals    drawn over {found.interval_over}")
    return [*lines, "", *_confusion(found)]


def _confusion(found: ClassificationScore) -> list[str]:
    """Counts of true (rows) and predicted (columns) labels; recalls alone where there are many."""
    few = len(found.labels) <= _MOST_COLUMNS
    rows = [["true", "recall", "number", *(found.labels if few else [])]]
    for one, counts in zip(found.classes, found.confusion, strict=True):
        cells = [one.label, f"{one.recall:.1f} %", str(one.count)]
        rows.append(cells + [str(count) for count in counts if few])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _write(path: Path, corpus: dict[str, object], recordings: list[dict[str, object]]) -> None:
    """Write what the model says of each recording, with the scores where the format has room."""
    if path.suffix == ".json":
        content = {"corpus": corpus, "utterances": recordings}
        text = json.dumps(content, ensure_ascii=False, indent=1)
    else:
        rows = ["\t".join(map(str, recording.values())) for recording in recordings]
        text = "\n".join([HEAD, *rows])
    with replace_file(path) as stream:
        stream.write(f"{text}\n")
    print(f"wrote {path}")
