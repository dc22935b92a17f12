"""`mgf average`: mean weights of several checkpoints of a run, or of a fine-tuning and its start.

checkpoints/average.py and checkpoints/interpolate.py read, compare and write; this file has the
options.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .options import quiet_libraries

if TYPE_CHECKING:
    from ..checkpoints.average import Averaged

HELP = "average the weights of checkpoints of one run, or of a fine-tuning and its start"
EXAMPLES = """\
examples:
  mgf average runs/ctc --last 5 --dest runs/ctc/average.pt
  mgf average runs/ctc/checkpoint_2_1000.pt runs/ctc/checkpoint_3_1500.pt --dest average.pt
  mgf average runs/ctc --start runs/mgf_mini/all --start-weight 0.2 --dest runs/ctc/between.pt

As fairseq's scripts/average_checkpoints.py. The result is used like the others: fine-tuned,
extracted from, scored, exported; nothing resumes from it. A run keeps several checkpoints with
checkpoint.keep_interval_updates=5, saved every checkpoint.save_interval_updates.
--start mixes the encoder of a fine-tuned checkpoint with the pre-trained one that it began with
(WiSE-FT), against forgetting; choose the weight on valid data.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf average`."""
    add = parser.add_argument
    add("sources", nargs="+", type=Path, metavar="RUN|CK", help="folder of a run, or checkpoints")
    add(
        "--last",
        type=int,
        metavar="N",
        help="number of checkpoints of the folder RUN to average: those with the most updates "
        "(no default)",
    )
    add(
        "--start",
        type=Path,
        metavar="CK",
        help="pre-trained checkpoint that the one fine-tuned checkpoint RUN|CK began with "
        "(default: none, average the checkpoints of a run)",
    )
    add(
        "--start-weight",
        type=float,
        metavar="W",
        help="with --start: its share of the encoder's weights, between 0 and 1 (no default)",
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
    if args.start is not None or args.start_weight is not None:
        found = _between(args)
    else:
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


def _between(args: argparse.Namespace) -> Averaged:
    """Mix a fine-tuned checkpoint with its start."""
    from ..checkpoints.interpolate import interpolate
    from ..checkpoints.reading import find_checkpoint

    if args.start is None or args.start_weight is None:
        raise ValueError("--start and --start-weight need each other, as --start-weight 0.2")
    if len(args.sources) > 1 or args.last is not None:
        raise ValueError("--start takes one fine-tuned checkpoint, or the folder of its run")
    return interpolate(find_checkpoint(args.sources[0]), args.start, args.start_weight, args.dest)


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
