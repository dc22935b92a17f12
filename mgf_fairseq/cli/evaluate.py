"""`mgf evaluate`: the evaluations of one or several representations, in one command.

evaluation/run.py does the work; this file reads options and prints the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
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
    prepare_libraries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..evaluation.result_files import ResultFolder
    from ..evaluation.run import Request

HELP = "phoneme, speaker and emotion probes and speech recognition, for one or many representations"
EXAMPLES = """\
examples:
  mgf evaluate --checkpoint runs/mgf_small/all/checkpoint_last.pt --data data/ls --dest results
  mgf evaluate --checkpoint CK random:CK fbank mfcc --data data/ls --emotion-data data/emodb \\
      --dest results
  mgf evaluate --checkpoint CK1 CK2 --name mgf-seed1 mgf-seed2 --group mgf --tasks phone,speaker \\
      --data data/ls --dest results

DATA is a folder written by mgf prepare: .phn for phone, .spk for speaker, .emo for emotion, .ltr
for asr; enhancement needs no labels. Everything is checked before anything long runs; a finished
result is skipped, so the same command resumes after an interruption. `mgf report RESULTS --dest
OUT` makes a page of it. examples/evaluate/README.md describes the protocol.
"""
DEFAULT_TASKS = "phone,speaker,emotion,asr"
_COLUMNS = (  # task, metric, heading
    ("phone", "accuracy", "phone acc."),
    ("phone", "accuracy_no_sil", "w/o silence"),
    ("speaker", "accuracy", "speaker acc."),
    ("emotion", "uar", "emotion UAR"),
    ("enhancement", "si_sdr_gain", "SI-SDR gain"),
    ("asr", "cer", "CER"),
    ("asr", "wer", "WER"),
)
_LEGEND = "percent, enhancement in dB; +-: deviation over seeds; of CER and WER lower is better"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf evaluate`."""
    add = parser.add_argument
    add_checkpoint(add, baselines=True, many=True)
    add("--data", type=Path, required=True, help="folder written by mgf prepare")
    add("--emotion-data", type=Path, metavar="DATA", help="another prepared folder, for task "
        "emotion (default: --data)")  # fmt: skip
    add("--tasks", "--task", nargs="+", action="extend", metavar="T,T", help="phone, speaker, "
        "emotion, asr, enhancement, or labels (default: phone,speaker,emotion,asr)")  # fmt: skip
    add(
        "--dest",
        type=Path,
        required=True,
        help="folder for results, with a folder per representation",
    )
    add("--name", nargs="+", default=[], help="names of the representations (default: of their "
        "folders)")  # fmt: skip
    add(
        "--group",
        help="name of one row for these checkpoints, which differ by pre-training seed alone "
        "(default: none)",
    )
    add("--cache", type=Path, metavar="DIR", help="folder of features and fine-tunings (default: "
        "DEST/cache)")  # fmt: skip
    add_device(add)
    add_user_dir(add)
    add("--speaker-test", metavar="SPLIT", help="split that task speaker alone is scored on "
        "(default: as --test-split)")  # fmt: skip
    add_probe_options(parser)
    add_asr_options(parser)


def add_asr_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how speech recognition is fine-tuned."""
    asr = parser.add_argument_group("speech recognition").add_argument
    asr("--asr-labels", choices=["ltr", "spm"], default="ltr", help="letters or SentencePiece")
    asr(
        "--asr-updates",
        type=int,
        metavar="N",
        help="number of updates of fine-tuning (default: the recipe's)",
    )
    add_seeds(asr, "--asr-seeds", "1", "seeds of fine-tuning, a training each")
    asr("--asr-recipe", type=Path, metavar="YAML", help="fine-tuning recipe (default: "
        "ctc_evaluate.yaml in the folder that `mgf configs finetune` prints)")  # fmt: skip
    asr(
        "--asr-override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="further setting of fine-tuning, as hydra takes it (default: none)",
    )
    asr(
        "--asr-jobs",
        type=int,
        default=1,
        metavar="N",
        help="number of fine-tunings to run at a time (default: 1). With 2 or more they come "
        "first, and each has 1/N of the cores, or OMP_NUM_THREADS threads; the last digits of a "
        "score depend on the number of threads",
    )
    asr(
        "--asr-shape",
        metavar="CK",
        help="checkpoint in whose shape a Transformer is trained on fbank and mfcc (default: the "
        "first of CK)",
    )


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how frozen features are probed."""
    add = parser.add_argument_group("probes").add_argument
    add_seeds(add, "--seeds", "1,2,3", "seeds of the probes")
    add_layers(add, unless="all, and their weighted sum")
    add(
        "--hidden",
        type=int,
        default=0,
        help="width of a hidden layer of the probes; 0: one linear layer alone",
    )
    add("--test-split", metavar="SPLIT", help="split that all probes but emotion are scored on "
        "(default: test; of speaker speaker_test)")  # fmt: skip
    add(
        "--disjoint",
        choices=["speakers", "utterances"],
        default="speakers",
        help="what the splits of tasks phone and enhancement must not share (utterances: the CPC "
        "split)",
    )
    add("--silence", default="SIL", metavar="P,P", help="phones that the score `w/o silence` skips")
    add("--ignore", default="SPN", metavar="P,P", help="phones that are neither learned nor scored")
    add(
        "--segment-seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="length of the segments that task speaker classifies, in seconds; each is "
        "encoded alone",
    )
    add(
        "--dtype",
        choices=["float16", "float32"],
        default="float16",
        help="number format of the cached features",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, and return 0."""
    import os

    # Before torch is loaded: threads that wait give their core to others on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from ..evaluation.run import evaluate
    from ..host.training_process import TrainingError
    from ..utils.progress import Bars
    from .layer_table import layer_table

    request = request_of(args)
    prepare_libraries(args)
    try:
        with Bars() as bars:

            def say(text: str) -> None:
                bars.close()
                bars.say(text, sys.stdout)

            folders = evaluate(request, bars, say)
    except TrainingError as error:
        print(error.tail, file=sys.stderr)
        raise
    args.result = {
        folder.path.name: {"path": folder.path, "tasks": folder.tasks, "asr": folder.recognition}
        for folder in folders
    }
    print()
    if len(folders) == 1 and len(request.tasks) == 1 and request.tasks[0] in folders[0].tasks:
        print(layer_table(folders[0].tasks[request.tasks[0]], folders[0].path.name))
    else:
        print(table(folders))
    print(f"\nresults: {request.dest}\nnext: mgf report {request.dest} --dest report")
    return 0


def request_of(args: argparse.Namespace) -> Request:
    """Turn options into a request; bad values raise ValueError."""
    from ..evaluation.finetuning.recipe import load_recipe
    from ..evaluation.options import ProbeOptions
    from ..evaluation.run import Request

    device = device_of(args.device)
    tasks = tuple(dict.fromkeys(names(args.tasks or DEFAULT_TASKS)))
    recipe = None
    if "asr" in tasks:
        recipe = load_recipe(
            args.asr_recipe, args.asr_labels, args.asr_updates, tuple(args.asr_override)
        )
    return Request(
        specs=tuple(map(checkpoint_of, args.checkpoint)),
        data=args.data,
        dest=args.dest,
        tasks=tasks,
        emotion_data=args.emotion_data,
        names=tuple(args.name),
        group=args.group,
        cache=args.cache,
        probe=ProbeOptions(
            seeds=numbers("--seeds", args.seeds),
            hidden=args.hidden,
            device=device,
            disjoint=args.disjoint,
            silence=tuple(names(args.silence)),
            ignore=tuple(names(args.ignore)),
            dtype=args.dtype,
            layers=None if args.layers is None else tuple(names(args.layers)),
            test_split=args.test_split,
            segment_seconds=args.segment_seconds,
        ),
        speaker_test=args.speaker_test,
        recipe=recipe,
        asr_seeds=numbers("--asr-seeds", args.asr_seeds) if recipe else (1,),
        asr_shape=Path(checkpoint_of(args.asr_shape)) if recipe and args.asr_shape else None,
        asr_jobs=args.asr_jobs,
    )


def table(folders: Sequence[ResultFolder]) -> str:
    """Representations x tasks: mean and deviation over seeds on test, chosen on valid."""
    scores = [_scores(folder) for folder in folders]
    labels = sorted({task for found in scores for task, _ in found} - {c[0] for c in _COLUMNS})
    others = [(task, m, f"{task} {m}"[-14:]) for task in labels for m in ("accuracy", "uar")]
    columns = [c for c in (*_COLUMNS, *others) if any(c[:2] in found for found in scores)]
    width = max(len("representation"), *(len(folder.path.name) for folder in folders))
    lines = ["  ".join([f"{'representation':<{width}}", *(f"{c[2]:>14}" for c in columns)])]
    for folder, found in zip(folders, scores, strict=True):
        cells = [_cell(found.get((task, metric), [])) for task, metric, _ in columns]
        lines.append("  ".join([f"{folder.path.name:<{width}}", *cells]))
    lines += [f"({_LEGEND})", ""]
    for folder in folders:
        for name, task in folder.tasks.items():
            chosen = task.representations[task.chosen].name
            chance = task.chance.get(task.metric, float("nan"))
            lines.append(
                f"{folder.path.name}, {name}: best on valid: {chosen}; 95 % interval "
                f"{task.low:.1f} to {task.high:.1f} over {task.interval_over}; chance {chance:.1f}"
            )
    notes = [
        note
        for folder in folders
        for result in (*folder.tasks.values(), folder.recognition)
        if result is not None and result.data.note
        for note in result.data.note.split("; ")
    ]
    notes += [
        f"{folder.path.name}, {result.task}: {result.overlap.words}"
        for folder in folders
        for result in (*folder.tasks.values(), folder.recognition)
        if result is not None and result.overlap is not None
    ]
    return "\n".join([*lines, *(f"note: {note}" for note in dict.fromkeys(notes))])


def _scores(folder: ResultFolder) -> dict[tuple[str, str], list[float]]:
    found = {
        (name, metric): values
        for name, task in folder.tasks.items()
        for metric, values in task.representations[task.chosen].test.items()
    }
    if folder.recognition is not None:
        found |= {("asr", metric): values for metric, values in folder.recognition.test.items()}
    return found


def _cell(values: list[float]) -> str:
    if not values:
        return f"{'-':>14}"
    spread = f" +- {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{f'{mean(values):.1f}{spread}':>14}"
