"""`mgf probe`: one task on one representation by linear probes on frozen features.

evaluation/tasks.py does the work; this file reads options and prints the table.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgf_fairseq.evaluation.outcome import ProbeOptions
    from mgf_fairseq.evaluation.results import Representation, TaskResult

HELP = "what the layers of a representation know of phones, speakers or emotions (linear probes)"
EXAMPLES = """\
examples:
  mgf probe --task phone --upstream runs/mgf_small/all/checkpoint_last.pt --data data --dest results
  mgf probe --task speaker --upstream fbank --data data --dest results
  mgf probe --task emotion --upstream mfcc --data data/emodb --dest results --seeds 1,2,3,4,5

The data is a folder written by mgf prepare. phone needs .phn in train, valid and test, which share
no speaker; speaker needs .spk in train, and takes speaker_test where there is one; emotion needs
.emo and .spk and leaves one speaker out (one fold where there is .fold). Layers are chosen on
valid, never on test. Features are extracted once and kept in --cache.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf probe`."""
    tasks = ("phone", "speaker", "emotion")
    parser.add_argument("--task", required=True, choices=tasks, help="what is classified")
    parser.add_argument(
        "--upstream", required=True, help="a checkpoint, fbank, mfcc, or random:CHECKPOINT[@SEED]"
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of mgf prepare")
    parser.add_argument("--dest", type=Path, required=True, help="results go to DEST/NAME")
    parser.add_argument("--name", help="default: the folder of the checkpoint, or fbank, mfcc")
    parser.add_argument("--group", help="results that differ by pre-training seed only share it")
    parser.add_argument("--cache", type=Path, help="features (default: DEST/cache/features)")
    parser.add_argument("--layers", help="such as 0,2,last (default: all, and their weighted sum)")
    parser.add_argument("--seeds", default="1,2,3", help="of the probes (default 1,2,3)")
    parser.add_argument(
        "--hidden", type=int, default=0, help="width of a hidden layer (default: one Linear alone)"
    )
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there)")
    parser.add_argument("--test-split", help="split to report on (phone, speaker)")
    parser.add_argument(
        "--disjoint",
        choices=("speakers", "utterances"),
        default="speakers",
        help="what phone's splits must not share (the CPC split of LibriSpeech: utterances)",
    )
    parser.add_argument("--silence", default="SIL", help="phones left out of the second accuracy")
    parser.add_argument("--ignore", default="SPN", help="phones left out of everything")
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="of the cached features"
    )
    parser.add_argument(
        "--segment-seconds",
        type=float,
        default=1.0,
        help="of what task speaker tells, each encoded alone (1)",
    )


def run(args: argparse.Namespace) -> int:
    """Probe, print the table, write the result, and return 0."""
    import logging
    import warnings

    from mgf_fairseq.cli.progress import Bars
    from mgf_fairseq.evaluation.tasks import (
        check_folder,
        plan_probe,
        result_name,
        run_probe,
        write_probe,
    )
    from mgf_fairseq.upstream import load_upstream

    logging.getLogger("fairseq").setLevel(logging.WARNING)
    # fairseq's positional convolution uses torch's older weight norm; its state dict needs it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.nn.utils.weight_norm")
    options = _options(args)
    upstream = load_upstream(args.upstream).to(options.device)
    folder = args.dest / (args.name or result_name(upstream))
    check_folder(folder, upstream)
    cache = args.cache or args.dest / "cache" / "features"
    plan = plan_probe(args.task, upstream, args.data, cache, options)
    with Bars() as bars:
        found = run_probe(plan, bars)
    path = write_probe(folder, plan, found, args.group)
    print(table(found.result, folder.name))
    print(f"wrote {path}")
    return 0


def _options(args: argparse.Namespace) -> ProbeOptions:
    """Turn options into a dataclass; bad values raise ValueError."""
    import torch

    from mgf_fairseq.evaluation.outcome import ProbeOptions

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: no CUDA device is visible here; use --device cpu")
    if not all(seed.strip().isdigit() for seed in args.seeds.split(",")):
        raise ValueError(f"--seeds {args.seeds}: give whole numbers such as 1,2,3")
    return ProbeOptions(
        seeds=tuple(int(seed) for seed in args.seeds.split(",")),
        layers=None if args.layers is None else tuple(_names(args.layers)),
        hidden=args.hidden,
        device=device,
        test_split=args.test_split,
        disjoint=args.disjoint,
        silence=tuple(_names(args.silence)),
        ignore=tuple(_names(args.ignore)),
        segment_seconds=args.segment_seconds,
        dtype=args.dtype,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


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
