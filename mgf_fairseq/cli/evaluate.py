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
    add("--tasks", default="phone,speaker,emotion,asr", metavar="T,T", help="(default: all four)")
    add("--dest", type=Path, required=True, help="results: a folder per representation")
    add("--name", nargs="+", default=[], help="names of the representations (default: of their "
        "folders)")  # fmt: skip
    add("--group", help="what checkpoints are that differ by pre-training seed alone: one row")
    add("--cache", type=Path, metavar="DIR", help="features, fine-tunings (default: DEST/cache)")
    add("--device", help="cpu or cuda (default: cuda if there)")
    probes = parser.add_argument_group("probes").add_argument
    probes("--seeds", default="1,2,3", metavar="N,N", help="of the probes (1,2,3)")
    probes("--hidden", type=int, default=0, help="width of a hidden layer (0: exactly one Linear)")
    probes(
        "--disjoint",
        choices=["speakers", "utterances"],
        default="speakers",
        help="what the splits of task phone must not share (utterances: the CPC split)",
    )
    probes(
        "--silence", default="SIL", metavar="P,P", help="phones that `w/o silence` leaves out (SIL)"
    )
    probes(
        "--dtype", choices=["float16", "float32"], default="float16", help="of the cached features"
    )
    probes("--speaker-test", metavar="SPLIT", help="split that task speaker is scored on")
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


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, and return 0."""
    import logging
    import os
    import warnings

    # Before torch is loaded: threads that wait give their core to others on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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
    tasks = tuple(dict.fromkeys(name for name in args.tasks.replace(" ", "").split(",") if name))
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
            silence=tuple(name for name in args.silence.split(",") if name),
            dtype=args.dtype,
        ),
        speaker_test=args.speaker_test,
        recipe=recipe,
        asr_seeds=_numbers("--asr-seeds", args.asr_seeds),
        asr_shape=args.asr_shape,
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    words = text.replace(" ", "").split(",")
    if not all(word.isdigit() for word in words) or len(set(words)) < len(words):
        raise ValueError(f"{option} {text}: expected different whole numbers, as in 1,2,3")
    return tuple(int(word) for word in words)


def table(folders: Sequence[ResultFolder]) -> str:
    """Representations x tasks: mean and deviation over seeds on test, chosen on valid; percent."""
    scores = [_scores(folder) for folder in folders]
    columns = [column for column in _COLUMNS if any(column[:2] in found for found in scores)]
    width = max(len("representation"), *(len(folder.path.name) for folder in folders))
    lines = ["  ".join([f"{'representation':<{width}}", *(f"{c[2]:>14}" for c in columns)])]
    for folder, found in zip(folders, scores, strict=True):
        cells = [_cell(found.get((task, metric), [])) for task, metric, _ in columns]
        lines.append("  ".join([f"{folder.path.name:<{width}}", *cells]))
    lines.append("")
    for folder in folders:
        for name, task in folder.tasks.items():
            chosen = task.representations[task.chosen].name
            lines.append(
                f"{folder.path.name}, {name}: {chosen}, 95 %: {task.low:.1f} to {task.high:.1f} "
                f"over {task.interval_over}, chance {task.chance.get(task.metric, float('nan')):.1f}"
            )
    notes = [
        note
        for folder in folders
        for result in (*folder.tasks.values(), folder.recognition)
        if result is not None and result.data.note
        for note in result.data.note.split("; ")
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
