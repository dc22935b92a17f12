"""`mgf units`: discrete units of a layer, as fairseq's hubert_pretraining takes them.

units/make.py does the work; this file has the options and prints.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .options import (
    add_batch_seconds,
    add_checkpoint,
    add_device,
    add_user_dir,
    checkpoint_of,
    device_of,
    prepare_libraries,
)

if TYPE_CHECKING:
    from ..units.make import Made, Split

HELP = "cluster the frames of a layer: units, their dictionary, and how well they follow the phones"
EXAMPLES = """\
examples:
  mgf units --checkpoint runs/mgf_small/all --layer 3 --manifest data/train.tsv data/valid.tsv \\
      --classes 100 --dest units
  mgf units --checkpoint mfcc --manifest data/train.tsv data/valid.tsv --dest units_mfcc

The first manifest is clustered. DEST/train.km holds the units of DEST/train.tsv, one line per
utterance, and dict.km.txt their dictionary, as fairseq's task hubert_pretraining reads them. Where
train.phn is beside the manifest, it prints how well units and phones agree.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf units`."""
    add = parser.add_argument
    add_checkpoint(add, baselines=True)
    add(
        "--layer",
        default="last",
        metavar="L",
        help="number of the layer: 0 is the Transformer's input, `last` its top",
    )
    add("--manifest", type=Path, nargs="+", required=True, help="one or more .tsv, train first")
    add("--dest", type=Path, required=True, help="folder to write to")
    add("--classes", type=int, default=100, metavar="K", help="number of units")
    add("--seed", type=int, default=1, metavar="N", help="seed of the clusters")
    add(
        "--fit-hours",
        type=float,
        default=3.0,
        metavar="H",
        help="audio that is clustered, drawn from the first manifest, in hours; its frames are in "
        "memory",
    )
    add_batch_seconds(add)
    add_device(add)
    add_user_dir(add)


def run(args: argparse.Namespace) -> int:
    """Make the units, print what was written, and return 0."""
    device = device_of(args.device)
    prepare_libraries(args)
    from ..extract.upstream import load_upstream
    from ..units.make import Asked, make_units
    from ..utils.progress import Bars

    asked = Asked(
        tuple(args.manifest),
        args.layer,
        args.classes,
        args.seed,
        args.fit_hours,
        args.batch_seconds,
    )
    upstream = load_upstream(checkpoint_of(args.checkpoint)).to(device)
    with Bars() as bars:
        made = make_units(upstream, asked, args.dest, bars)
    args.result = made
    _print_made(made)
    return 0


def _print_made(made: Made) -> None:
    print(
        f"{made.dest}: {made.classes} units of {made.layer}, fitted to {made.fitted_frames} frames"
    )
    for split in made.splits:
        for row, reason in list(split.skipped.items())[:10]:
            print(f"skipped: {split.name} line {row + 2}: {reason}")
        if len(split.skipped) > 10:
            print(f"skipped: {len(split.skipped) - 10} more of {split.name}; units.json has all")
        print(
            f"{split.name}: {split.rows} utterances, {split.frames} frames, {split.used} of "
            f"{made.classes} units occur{_measured(split)}"
        )
    dest = shlex.quote(str(made.dest.resolve()))
    print(
        f"for fairseq's hubert_pretraining: task.data={dest} task.label_dir={dest} "
        f"task.labels=[km] task.label_rate={made.frame_rate:g}"
    )


def _measured(split: Split) -> str:
    found = split.quality
    if found is None:
        return ""
    return (
        f"; phone purity {found.phone_purity:.3f}, cluster purity {found.cluster_purity:.3f}, "
        f"PNMI {found.pnmi:.3f} ({found.frames} frames of {found.phones} phones)"
    )
