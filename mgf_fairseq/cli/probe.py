"""`mgf probe`: the earlier name of `mgf evaluate --checkpoint UPSTREAM --task TASK`.

Turns its options into those of `mgf evaluate` and hands over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import evaluate

HELP = "earlier name of `mgf evaluate --checkpoint UPSTREAM --task TASK`; the next version drops it"
EXAMPLES = """\
examples:
  mgf probe --task phone --upstream runs/mgf_small/all/checkpoint_last.pt --data data --dest results
is now
  mgf evaluate --task phone --checkpoint runs/mgf_small/all/checkpoint_last.pt --data data \\
      --dest results
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf probe`."""
    add = parser.add_argument
    add("--task", required=True, help="phone, speaker, emotion, or a label of the data")
    add("--upstream", required=True, help="a checkpoint, fbank, mfcc, or random:CHECKPOINT[@SEED]")
    add("--data", type=Path, required=True, help="a folder of mgf prepare")
    add("--dest", type=Path, required=True, help="results go to DEST/NAME")
    add("--name", help="default: the folder of the checkpoint, or fbank, mfcc")
    add("--group", help="results that differ by pre-training seed only share it")
    add("--cache", type=Path, help="features (default: DEST/cache)")
    add("--device", help="cpu or cuda (default: cuda if there)")
    evaluate.add_probe_options(parser)


def run(args: argparse.Namespace) -> int:
    """Say what the command is called now, run that, and return its exit code."""
    print(
        "note: mgf probe is now mgf evaluate --checkpoint UPSTREAM --task TASK, with the same "
        "options; the next version drops the earlier name"
    )
    if args.task == "asr":
        raise ValueError("mgf probe has no task asr: use mgf evaluate --task asr")
    args.checkpoint, args.task, args.tasks = [args.upstream], [args.task], ""
    args.name = [args.name] if args.name else []
    args.emotion_data = args.speaker_test = None
    return evaluate.run(args)
