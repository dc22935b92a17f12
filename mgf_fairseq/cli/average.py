"""`mgf average`: one checkpoint with the mean weights of several of a run.

checkpoints/average.py reads, compares and writes; this file has the options.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import quiet_libraries

HELP = "average the weights of checkpoints of one run"
EXAMPLES = """\
examples:
  mgf average runs/ctc --last 5 --dest runs/ctc/average.pt
  mgf average runs/ctc/checkpoint_2_1000.pt runs/ctc/checkpoint_3_1500.pt --dest average.pt

As fairseq's scripts/average_checkpoints.py. The result is used like the others: fine-tuned,
extracted from, scored, exported; nothing resumes from it. A run keeps several checkpoints with
checkpoint.keep_interval_updates=5, saved every checkpoint.save_interval_updates.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf average`."""
    add = parser.add_argument
    add("sources", nargs="+", type=Path, metavar="RUN|CK", help="folder of a run, or checkpoints")
    add(
        "--last",
        type=int,
        metavar="N",
        help="of a folder: number of checkpoints, those with the most updates (not with files)",
    )
    add("--dest", type=Path, required=True, metavar="FILE", help="checkpoint to write: a .pt")


def run(args: argparse.Namespace) -> int:
    """Average, print what was averaged, and return 0."""
    quiet_libraries()
    from ..checkpoints.average import average, is_average
    from ..utils.atomic import refuse_foreign
    from ..utils.progress import Bars

    if args.dest.suffix != ".pt":
        raise ValueError(f"--dest {args.dest} must end in .pt")
    refuse_foreign([args.dest], is_average, "--dest")
    paths = _paths(args.sources, args.last)
    with Bars() as bars:
        found = average(paths, args.dest, bars)
    for name, updates in found.sources:
        print(f"  {name}, {updates} updates")
    print(f"{found.tensors} weights are means; wrote {found.dest}")
    if found.kept:
        print(f"whole numbers, as in the newest: {', '.join(found.kept)}")
    args.result = found
    return 0


def _paths(sources: list[Path], last: int | None) -> list[Path]:
    """The checkpoints that are given, or those of a run's folder."""
    from ..checkpoints.average import last_checkpoints

    if not any(path.is_dir() for path in sources):
        if last is not None:
            raise ValueError("--last is for the folder of a run: give the folder, or leave it out")
        return sources
    if len(sources) > 1:
        raise ValueError("give the folder of one run, or checkpoint files of one run")
    if last is None:
        raise ValueError(f"{sources[0]}: say how many of its checkpoints with --last, as --last 5")
    return last_checkpoints(sources[0], last)
