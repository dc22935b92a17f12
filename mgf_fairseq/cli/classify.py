"""`mgf classify`: the labels of recordings, by a wav2vec_classification checkpoint.

inference/ does the work; this file prints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .options import (
    add_batch_seconds,
    add_device,
    add_recordings,
    add_user_dir,
    checkpoint_of,
    device_of,
    prepare_libraries,
    require_positive,
)

HELP = "label recordings (speaker, emotion, language) with a wav2vec_classification checkpoint"
EXAMPLES = """\
examples:
  mgf classify runs/speaker call.wav
  mgf classify runs/speaker recordings data/test.tsv --top 3
  find recordings -name '*.wav' | mgf classify runs/speaker - --json

One line per recording, in the order given: its path, then a label and its probability, separated by
tabs; with `--top` more labels. Standard input (-) is one path per line, or the audio itself. Exit
code: 0 all have a label, 1 some were skipped, which standard error names, 2 none could be read.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf classify`."""
    add = parser.add_argument
    add_recordings(add)
    add("--top", type=int, default=1, metavar="N", help="number of labels to print")
    add("--dict", type=Path, help="dictionary of the labels (default: the checkpoint's own)")
    add_batch_seconds(add)
    add_device(add)
    add_user_dir(add)


def run(args: argparse.Namespace) -> int:
    """Classify everything and return 0; 1 if recordings were skipped."""
    require_positive(args, "batch_seconds", "top")
    device = device_of(args.device)
    prepare_libraries(args)
    from ..inference.classifier import Classifier
    from ..inference.long_audio import Skipped
    from ..inference.sources import found_sources
    from ..utils.progress import Bars

    found, skipped = [], []
    with found_sources(args.inputs, sys.stdin.buffer) as sources, Bars() as bars:
        checkpoint = Path(checkpoint_of(args.checkpoint))
        classifier = Classifier.load(checkpoint, args.dict, device)
        run = classifier.run(args.batch_seconds, progress=bars)
        entries, names = [s.entry for s in sources], [s.name for s in sources]
        for result in run.over(entries, names):
            if isinstance(result, Skipped):
                skipped.append(result)
                bars.say(f"skipped: {result.name}: {result.reason}")
                continue
            found.append(result)
            best = list(result.probabilities.items())[: args.top]
            columns = [part for label, value in best for part in (label, f"{value:.4f}")]
            if not args.json:
                bars.say("\t".join([result.name, *columns]), sys.stdout)
            for flag in result.flags:
                bars.say(f"{result.name}: {flag}")
    if not found:
        raise ValueError(f"nothing could be read ({skipped[0].name}: {skipped[0].reason})")
    args.result = {"checkpoint": checkpoint, "recordings": found, "skipped": skipped}
    return 1 if skipped else 0
