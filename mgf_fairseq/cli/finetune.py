"""`mgf finetune`: fine-tune a pre-trained checkpoint with fairseq's own models.

train/plans.py chooses the settings, training.py runs them; this file has the options.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from .options import checkpoint_of, quiet_libraries
from .training import add_plan_arguments, run_plan

HELP = "fine-tune a checkpoint: prints the fairseq-hydra-train command and runs it"
EXAMPLES = """\
examples:
  mgf finetune runs/mgf_mini/all data
  mgf finetune CK data --task classification --labels spk
  mgf finetune CK data --amount 1h --dest runs/ctc_1h optimization.max_update=8000

The same command resumes. The amounts are recipes: `quick` learns in minutes on a CPU, `10min`, `1h`
and `all` are for that much labeled speech. Labels lie beside the manifests: train.ltr, train.tsv.
"""
_SCORE = "mgf score --checkpoint {folder} --manifest {data}/valid.tsv"
_TRANSCRIBE = "mgf transcribe {folder} RECORDINGS"
_USE = {
    "ctc": (_SCORE, _TRANSCRIBE),
    "classification": (_SCORE, "mgf classify {folder} RECORDINGS"),
    "seq2seq": (_SCORE, _TRANSCRIBE),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf finetune`."""
    add = parser.add_argument
    add("checkpoint", metavar="CK", help="pre-trained checkpoint, or folder of its run")
    add("data", type=Path, metavar="DATA", help="folder of manifests and label files")
    add(
        "--task",
        choices=sorted(_USE),
        default="ctc",
        help="ctc: recognize letters; seq2seq: with an attention decoder; classification: one "
        "label per recording",
    )
    add(
        "--labels",
        metavar="ENDING",
        help="ending of the label files: ltr, spm, spk, emo ... (default: ltr; with --task "
        "classification there is no default)",
    )
    add(
        "--amount",
        choices=["quick", "10min", "1h", "all"],
        help="the recipe (default: quick without a GPU, all with one)",
    )
    add_plan_arguments(add, "runs/TASK_LABELS")


def run(args: argparse.Namespace) -> int:
    """Fine-tune, print how it went, and return 0."""
    quiet_libraries()
    from ..train.plans import plan_finetuning

    checkpoint = Path(checkpoint_of(args.checkpoint))
    plan = plan_finetuning(
        checkpoint,
        args.data,
        args.task,
        args.labels,
        args.amount,
        args.dest,
        args.updates,
        args.overrides,
        args.hours,
    )
    names = {"folder": shlex.quote(str(plan.folder)), "data": shlex.quote(str(args.data))}
    return run_plan(args, plan, [line.format(**names) for line in _USE[args.task]])
