"""`mgf evaluate`: the four evaluations of one or several representations, in one command.

evaluation/run.py does the work; this file reads options and prints the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgf_fairseq.evaluation.results import ResultFolder
    from mgf_fairseq.evaluation.run import Request

HELP = "phoneme, speaker and emotion probes and speech recognition, for one or many representations"
EXAMPLES = """\
examples:
  mgf evaluate --checkpoint runs/mgf_small/all/checkpoint_last.pt --data data/ls --dest results
  mgf evaluate --checkpoint CK random:CK fbank mfcc --data data/ls --emotion-data data/emodb \\
      --dest results
  mgf evaluate --checkpoint CK1 CK2 --name mgf-seed1 mgf-seed2 --group mgf --tasks phone,speaker \\
      --data data/ls --dest results

DATA is a folder written by mgf prepare: .phn for phone, .spk for speaker, .emo for emotion, .ltr
for asr. Everything is checked before anything long runs; a result that stands is skipped, so the
same command again goes on after an interruption. `mgf report RESULTS --dest OUT` makes a page of
it. examples/evaluate/README.md states the protocol.
"""
_COLUMNS = (  # task, metric, heading
    ("phone", "accuracy", "phone acc."),
    ("phone", "accuracy_no_sil", "w/o silence"),
    ("speaker", "accuracy", "speaker acc."),
    ("emotion", "uar", "emotion UAR"),
    ("asr", "wer", "WER"),
    ("asr", "cer", "CER"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf evaluate`."""
    add = parser.add_argument
    add(
        "--checkpoint",
        nargs="+",
        required=True,
        metavar="CK",
        help="checkpoint files (MGF, fairseq wav2vec 2.0 or HuBERT), fbank, mfcc, random:CK",
    )
    add("--data", type=Path, required=True, help="folder written by mgf prepare")
    add("--emotion-data", type=Path, metavar="DATA", help="another one, for task emotion")
    add("--tasks", metavar="T,T", help="phone, speaker, emotion, asr, or labels of the data "
        "(default: phone,speaker,emotion,asr)")  # fmt: skip
    add("--task", action="append", metavar="T", help="one task; may be given several times")
    add("--dest", type=Path, required=True, help="results: a folder per representation")
    add("--name", nargs="+", default=[], help="names of the representations (default: of their "
        "folders)")  # fmt: skip
    add("--group", help="what checkpoints are that differ by pre-training seed alone: one row")
    add("--cache", type=Path, metavar="DIR", help="features, fine-tunings (default: DEST/cache)")
    add("--device", help="cpu or cuda (default: cuda if there)")
    add("--speaker-test", metavar="SPLIT", help="split that task speaker is scored on")
    add_probe_options(parser)
    asr = parser.add_argument_group("speech recognition").add_argument
    asr("--asr-labels", choices=["ltr", "spm"], default="ltr", help="letters or SentencePiece")
    asr("--asr-updates", type=int, metavar="N", help="of fine-tuning (default: the recipe's)")
    asr("--asr-seeds", default="1", metavar="N,N", help="of fine-tuning, a training each (1)")
    asr("--asr-recipe", type=Path, metavar="YAML", help="(default: examples/finetune's "
        "ctc_evaluate)")  # fmt: skip
    asr("--asr-override", action="append", default=[], metavar="KEY=VALUE", help="as hydra's")
    asr(
        "--asr-shape",
        type=Path,
        metavar="CK",
        help="checkpoint whose Transformer fbank and mfcc train (default: the first of CK)",
    )


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how frozen features are probed."""
    add = parser.add_argument_group("probes").add_argument
    add("--seeds", default="1,2,3", metavar="N,N", help="of the probes (1,2,3)")
    add("--layers", metavar="L,L", help="such as 0,2,last (default: all, and their weighted sum)")
    add("--hidden", type=int, default=0, help="width of a hidden layer (0: exactly one Linear)")
    add("--test-split", metavar="SPLIT", help="split that phone, speaker and labels are scored on "
        "(default: test; of speaker speaker_test)")  # fmt: skip
    add(
        "--disjoint",
        choices=["speakers", "utterances"],
        default="speakers",
        help="what the splits of task phone must not share (utterances: the CPC split)",
    )
    add(
        "--silence", default="SIL", metavar="P,P", help="phones that `w/o silence` leaves out (SIL)"
    )
    add("--ignore", default="SPN", metavar="P,P", help="phones left out of everything (SPN)")
    add(
        "--segment-seconds", type=float, default=1.0, help="of task speaker, each encoded alone (1)"
    )
    add("--dtype", choices=["float16", "float32"], default="float16", help="of the cached features")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, and return 0."""
    import logging
    import os
    import warnings

    # Before torch is loaded: threads that wait give their core to others on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from mgf_fairseq.cli.layer_table import layer_table
    from mgf_fairseq.cli.progress import Bars
    from mgf_fairseq.evaluation.run import evaluate
    from mgf_fairseq.training_run import TrainingError

    logging.getLogger("fairseq").setLevel(logging.WARNING)
    # fairseq's positional convolution uses torch's older weight norm; its state dict needs it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.nn.utils.weight_norm")
    request = request_of(args)
    try:
        with Bars() as bars:

            def tell(text: str) -> None:
                bars.close()
                print(text, flush=True)

            folders = evaluate(request, bars, tell)
    except TrainingError as error:
        print(error.tail, file=sys.stderr)
        raise
    print()
    if len(folders) == 1 and len(request.tasks) == 1 and request.tasks[0] in folders[0].tasks:
        print(layer_table(folders[0].tasks[request.tasks[0]], folders[0].path.name))
    else:
        print(table(folders))
    print(f"\n{request.dest}: next: mgf report {request.dest} --dest report")
    return 0


def request_of(args: argparse.Namespace) -> Request:
    """Turn options into a request; bad values raise ValueError."""
    import torch

    from mgf_fairseq.evaluation.finetuning import load_recipe
    from mgf_fairseq.evaluation.outcome import ProbeOptions
    from mgf_fairseq.evaluation.run import Request

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: no CUDA device is visible here; use --device cpu")
    given = "phone,speaker,emotion,asr" if args.tasks is None and not args.task else args.tasks
    tasks = tuple(dict.fromkeys([*_words(given or ""), *(args.task or [])]))
    recipe = None
    if "asr" in tasks:
        recipe = load_recipe(
            args.asr_recipe, args.asr_labels, args.asr_updates, tuple(args.asr_override)
        )
    return Request(
        specs=tuple(args.checkpoint),
        data=args.data,
        dest=args.dest,
        tasks=tasks,
        emotion_data=args.emotion_data,
        names=tuple(args.name),
        group=args.group,
        cache=args.cache,
        probe=ProbeOptions(
            seeds=_numbers("--seeds", args.seeds),
            hidden=args.hidden,
            device=device,
            disjoint=args.disjoint,
            silence=_words(args.silence),
            ignore=_words(args.ignore),
            dtype=args.dtype,
            layers=_words(args.layers) if args.layers is not None else None,
            test_split=args.test_split,
            segment_seconds=args.segment_seconds,
        ),
        speaker_test=args.speaker_test,
        recipe=recipe,
        asr_seeds=_numbers("--asr-seeds", args.asr_seeds) if recipe else (1,),
        asr_shape=args.asr_shape if recipe else None,
    )


def _words(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(word for word in text.replace(" ", "").split(",") if word)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    words = text.replace(" ", "").split(",")
    if not all(word.isdigit() for word in words) or len(set(words)) < len(words):
        raise ValueError(f"{option} {text}: expected different whole numbers, as in 1,2,3")
    return tuple(int(word) for word in words)


def table(folders: Sequence[ResultFolder]) -> str:
    """Representations x tasks: mean and deviation over seeds on test, chosen on valid; percent."""
    scores = [_scores(folder) for folder in folders]
    labels = sorted({task for found in scores for task, _ in found} - {c[0] for c in _COLUMNS})
    others = [(task, m, f"{task} {m}"[-14:]) for task in labels for m in ("accuracy", "uar")]
    columns = [c for c in (*_COLUMNS, *others) if any(c[:2] in found for found in scores)]
    width = max(len("representation"), *(len(folder.path.name) for folder in folders))
    lines = ["  ".join([f"{'representation':<{width}}", *(f"{c[2]:>14}" for c in columns)])]
    for folder, found in zip(folders, scores, strict=True):
        cells = [_cell(found.get((task, metric), [])) for task, metric, _ in columns]
        lines.append("  ".join([f"{folder.path.name:<{width}}", *cells]))
    lines.append("")
    for folder in folders:
        for name, task in folder.tasks.items():
            chosen = task.representations[task.chosen].name
            chance = task.chance.get(task.metric, float("nan"))
            lines.append(
                f"{folder.path.name}, {name}: {chosen}, 95 %: {task.low:.1f} to {task.high:.1f} "
                f"over {task.interval_over}, chance {chance:.1f}"
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
