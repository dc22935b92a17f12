"""`mgf pretrain`: pre-train on a prepared folder, by the project's recipes.

train/plans.py chooses the settings, training.py runs them; this file has the options.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from .options import quiet_libraries
from .training import add_plan_arguments, run_plan

HELP = "pre-train on a prepared folder: prints the fairseq-hydra-train command and runs it"
EXAMPLES = """\
examples:
  mgf pretrain data
  mgf pretrain data --size small --hours 8 --tensorboard
  mgf pretrain data --updates 5000 --dest runs/long objectives=no_sample optimization.lr=[0.002]

The same command resumes. It uses all GPUs of the machine, or its CPU; settings such as `run=gpu_1`
decide otherwise. For clusters and full control run the printed command yourself.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf pretrain`."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of train.tsv and valid.tsv")
    add(
        "--size",
        choices=["mini", "small", "base"],
        default="mini",
        help="mini: 4 layers of 128, for a CPU; small: 4 of 192; base: 12 of 768, for GPUs",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="record numbers, and at each validation sound and spectrograms of what the model "
        "makes of an utterance, in RUN/tensorboard (another folder: common.tensorboard_logdir=DIR)",
    )
    add(
        "--wandb",
        metavar="PROJECT",
        help="record the same as a run of this project of Weights & Biases; WANDB_MODE=offline "
        "keeps it on the machine (needs wandb)",
    )
    add_plan_arguments(add, "runs/mgf_SIZE/OBJECTIVES")


def run(args: argparse.Namespace) -> int:
    """Pre-train, print how it went, and return 0."""
    quiet_libraries()
    from ..train.plans import plan_pretraining, recording

    overrides = [*recording(args.tensorboard, args.wandb), *args.overrides]
    plan = plan_pretraining(args.data, args.size, args.dest, args.updates, args.hours, overrides)
    folder, data = shlex.quote(str(plan.folder)), shlex.quote(str(args.data))
    return run_plan(
        args,
        plan,
        [
            f"mgf evaluate --checkpoint {folder} random:{folder} --data {data} --dest results",
            f"mgf finetune {folder} {data}",
        ],
    )
