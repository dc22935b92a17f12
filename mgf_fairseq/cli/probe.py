"""`mgf probe`: tasks on one representation by linear probes on frozen features.

evaluation/tasks.py does the work; this file reads options and prints the table.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from .options import (
    add_checkpoint,
    add_device,
    add_layers,
    add_seeds,
    add_user_dir,
    checkpoint_of,
    device_of,
    names,
    numbers,
    one_of,
    prepare_libraries,
)

if TYPE_CHECKING:
    from mgf_fairseq.evaluation.outcome import ProbeOptions
    from mgf_fairseq.evaluation.results import Representation, TaskResult

HELP = "what the layers of a representation know of phones, speakers or emotions (linear probes)"
EXAMPLES = """\
examples:
  mgf probe --tasks phone,speaker --checkpoint runs/mgf_small/all --data data --dest results
  mgf probe --tasks speaker --checkpoint fbank --data data --dest results
  mgf probe --tasks emotion --checkpoint mfcc --data data/emodb --dest results --seeds 1,2,3,4,5

The data is a folder written by mgf prepare. phone needs .phn in train, valid and test, which share
no speaker; speaker needs .spk in train, and takes speaker_test where there is one; emotion needs
.emo and .spk and leaves one speaker out (one fold where there is .fold). Layers are chosen on
valid, never on test. Features are extracted once and kept in --cache.
"""
PROBED = ("phone", "speaker", "emotion")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf probe`."""
    add = parser.add_argument
    add(
        "--tasks",
        nargs="+",
        required=True,
        metavar="T,T",
        help=f"what is classified, of {', '.join(PROBED)}",
    )
    add_checkpoint(add, baselines=True)
    add("--data", type=Path, required=True, help="folder written by mgf prepare")
    add("--dest", type=Path, required=True, help="results go to DEST/NAME")
    add("--name", help="of the results (default: the folder of the checkpoint, or fbank, mfcc)")
    add("--group", help="shared by results that differ by pre-training seed only (default: none)")
    add("--cache", type=Path, help="folder of features (default: DEST/cache/features)")
    add_layers(add, unless="all, and their weighted sum")
    add_seeds(add, "--seeds", "1,2,3", "seeds of the probes")
    add("--hidden", type=int, default=0, help="width of a hidden layer; 0: one Linear alone")
    add_device(add)
    add_user_dir(add)
    add(
        "--test-split",
        metavar="SPLIT",
        help="split that phone and speaker are scored on (default: test; of speaker speaker_test, "
        "where there is one)",
    )
    add(
        "--disjoint",
        choices=("speakers", "utterances"),
        default="speakers",
        help="what phone's splits must not share (the CPC split of LibriSpeech: utterances)",
    )
    add("--silence", default="SIL", metavar="P,P", help="phones skipped in the second accuracy")
    add("--ignore", default="SPN", metavar="P,P", help="phones skipped in everything")
    add("--dtype", choices=("float16", "float32"), default="float16", help="of the cached features")
    add(
        "--segment-seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="length of what task speaker classifies, each encoded alone, in seconds",
    )


def run(args: argparse.Namespace) -> int:
    """Probe, print the table, write the result, and return 0."""
    from mgf_fairseq.cli.progress import Bars
    from mgf_fairseq.evaluation.tasks import (
        check_folder,
        plan_probe,
        result_name,
        run_probe,
        write_probe,
    )
    from mgf_fairseq.upstream import load_upstream

    options, tasks = _options(args), one_of("--tasks", args.tasks, PROBED)
    prepare_libraries(args)
    upstream = load_upstream(checkpoint_of(args.checkpoint)).to(options.device)
    folder = args.dest / (args.name or result_name(upstream))
    check_folder(folder, upstream)
    cache = args.cache or args.dest / "cache" / "features"
    plans = [plan_probe(task, upstream, args.data, cache, options) for task in tasks]
    args.result = []
    for plan in plans:
        with Bars() as bars:
            found = run_probe(plan, bars)
        path = write_probe(folder, plan, found, args.group)
        print(table(found.result, folder.name))
        print(f"wrote {path}")
        args.result.append({"path": path, "result": found.result})
    return 0


def _options(args: argparse.Namespace) -> ProbeOptions:
    """Turn options into a dataclass; bad values raise ValueError."""
    from mgf_fairseq.evaluation.outcome import ProbeOptions

    return ProbeOptions(
        seeds=numbers("--seeds", args.seeds),
        layers=None if args.layers is None else tuple(names(args.layers)),
        hidden=args.hidden,
        device=device_of(args.device),
        test_split=args.test_split,
        disjoint=args.disjoint,
        silence=tuple(names(args.silence)),
        ignore=tuple(names(args.ignore)),
        segment_seconds=args.segment_seconds,
        dtype=args.dtype,
    )


def table(result: TaskResult, name: str) -> str:
    """Layers by metrics in percent, mean and deviation over seeds, the chosen one marked."""
    metrics = list(result.chance)
    sizes = ", ".join(
        f"{split} {size.items} of {size.utterances} utterances"
        for split, size in (("train", result.data.train), ("test", result.data.test))
    )
    lines = [
        f"{result.task}: {name} on {result.data.folder}; {result.protocol['probe']}, "
        f"{len(result.seeds)} seed(s)",
        f"{len(result.data.classes)} classes; {sizes}",
        result.protocol["splits"],
    ]
    width = max(len(item.name) for item in result.representations) + 2
    heads = [f"{'valid ' + metrics[0]:>20}", *(f"{'test ' + metric:>22}" for metric in metrics)]
    lines += ["", " " * width + "".join(heads)]
    for number, item in enumerate(result.representations):
        mark = "  <- chosen" if number == result.chosen else ""
        lines.append(f"{item.name:<{width}}{_cells(item, metrics)}{mark}")
    chance = "".join(f"{result.chance[metric]:>14.1f}        " for metric in metrics)
    lines.append(f"{'majority':<{width}}{'':20}{chance}".rstrip())
    lines += ["", f"{result.metric} of the chosen one: 95 % {result.low:.1f} to {result.high:.1f}"]
    lines += [f"note: {result.data.note}"] if result.data.note else []
    return "\n".join(lines)


def _cells(item: Representation, metrics: list[str]) -> str:
    def cell(values: list[float]) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{statistics.mean(values):.1f} +- {spread:.1f}"

    test = "".join(f"{cell(item.test[metric]):>22}" for metric in metrics)
    return f"{cell(item.valid[metrics[0]]):>20}{test}"
