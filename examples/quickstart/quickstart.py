"""The quickstart: a synthetic corpus, pre-training, the four evaluations, a picture and a report.

Each step is a command that is printed as you would type it; a second run skips finished steps.
With --data FOLDER it does the same with your own recordings. plans.py lists the steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from plans import Settings, can_classify_speakers, has_transcripts, learning, preparation
from steps import ROOT, Step, Steps, execute, show

from mgf_fairseq.cli.evaluate import table as evaluation_table
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.data.text import read_lines
from mgf_fairseq.evaluation.result_files import read_results
from mgf_fairseq.monitoring.training_log import LOG_NAME, read_log
from mgf_fairseq.utils.processes import Children

PATH_AT_START = os.environ.get("MGF_PATH_AT_START", os.environ["PATH"])  # set by run.sh
READING = """\
CER and WER: wrong characters and words of 100, of speakers that no training heard; lower is better.
random: the same network with random weights, and the same fine-tuning. fbank: plain log-mel.
speaker and emotion are settings of a synthesizer here, which log-mel nearly spells out."""


def table(pretrain: Path) -> str:
    """Make the table of pre-training from its log: first and last update, last validation."""
    logged = read_log(pretrain / LOG_NAME, "train_inner")
    valid = read_log(pretrain / LOG_NAME, "valid")[-1]

    def row(scale: str, what: str, name: str, reference: str, form: Callable[..., str]) -> str:
        trained = [entry[name] for entry in logged if name in entry]  # not in every short batch
        values = (form(value) for value in (trained[0], trained[-1], valid[name]))
        return f"{scale:<11}{what:<29}" + "".join(f"{v:>10}" for v in values) + f"   {reference}"

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    def plain(value: float) -> str:
        return f"{value:.2f}"

    lines = [
        f"{'scale':<11}{'what':<29}{'at first':>10}{'at last':>10}{'held out':>10}   compare with",
        row("sample", "SI-SDR of the waveform, dB", "sample_si_sdr", "higher is better", plain),
        row("frame", "log-mel, smooth L1", "frame_mel", "lower is better", plain),
        row("", "log-mel of masked frames", "frame_mel_masked", "lower is better", plain),
        row("phoneme", "contrastive accuracy", "phoneme_accuracy",
            f"chance {percent(valid['phoneme_chance'])}", percent),
        row("utterance", "retrieval accuracy", "utterance_accuracy",
            f"chance {percent(valid['utterance_chance'])}", percent),
    ]  # fmt: skip
    return "\n".join(lines)


def print_scores(asked: Settings) -> None:
    """Print the table of pre-training and the table of evaluations, or why there is none."""
    print(f"\n{table(asked.pretrain)}\n")
    names = ("mgf", "random", "fbank")
    found = [asked.results / name for name in names if (asked.results / name).is_dir()]
    if found:
        print(evaluation_table([read_results(folder) for folder in found]))
        if asked.own is None:
            print(READING)
    if not has_transcripts(asked.speech):
        print(f"recognition skipped: {asked.own} has no transcripts that mgf prepare could read")
    if not can_classify_speakers(asked.sentences):
        print("speaker probe skipped: it takes two speakers with 4 recordings each")


def use_words(asked: Settings, recognizer: Path, children: Children) -> None:
    """Score test again, with the list of words that training has."""
    print("\nThe same recognizer, choosing among the words of training:")
    score = ("mgf", "score", "--checkpoint", recognizer, "--manifest", asked.speech / "test.tsv",
             "--words", asked.speech / "train.ltr")  # fmt: skip
    show(score)
    execute(Step("", recognizer, score), children)


def transcribe_one(asked: Settings, recognizer: Path, children: Children) -> None:
    """Transcribe a recording of test and print what was really said above it."""
    manifest = read_manifest(asked.speech / "test.tsv")
    letters = read_lines(asked.speech / "test.ltr", "utf-8")[0]
    print(f"\nA recording that was in no training, and what is really said in it:\n"
          f"  {letters.replace(' ', '').replace('|', ' ').strip()}", flush=True)  # fmt: skip
    greedy = ("mgf", "transcribe", recognizer, manifest.entry(0), "--txt")
    for command in (greedy, (*greedy, "--word-list", asked.speech / "train.ltr")):
        show(command)
        execute(Step("", recognizer, command), children)


def recognizer_of(asked: Settings) -> Path | None:
    """The folder of the latest fine-tuning from pre-trained weights; None without transcripts."""
    if not has_transcripts(asked.speech):
        return None
    runs = asked.results.glob("cache/asr/mgf-*/seed1/checkpoint_best.pt")
    return max(runs, key=lambda path: path.stat().st_mtime).parent


def print_next(asked: Settings, recognizer: Path | None) -> None:
    """Say what to type next."""
    checkpoint = asked.pretrain / "checkpoint_last.pt"
    print("\nnext:")
    if shutil.which("mgf", path=PATH_AT_START) is None:
        print("  source .venv/bin/activate")
    if recognizer is not None:
        show(("mgf", "transcribe", recognizer, "YOUR.wav"), "  ")
    else:
        show(("mgf", "extract", "--checkpoint", checkpoint, "--manifest",
              asked.data / "valid.tsv", "--dest", asked.dest / "features"), "  ")  # fmt: skip
    if asked.own is None:
        show(("bash", "examples/quickstart/run.sh", "--data", "YOUR_FOLDER"), "  ")
    else:
        show(("mgf", "pretrain", asked.data, "--size", "small"), "  ")
    show(("mgf", "export", asked.pretrain, "--to", "huggingface", "--dest", "exported"), "  ")


def settings() -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="examples/quickstart/run.sh")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="your own recordings, any "
        "layout that `mgf prepare` reads (default: synthetic speech)")  # fmt: skip
    parser.add_argument("--dest", type=Path, help="folder to write (default: runs/quickstart, with "
        "--data runs/quickstart-FOLDER)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=20.0, help="sentences to synthesize, in "
        "minutes (default 20)")  # fmt: skip
    parser.add_argument("--commands", type=float, help="commands to synthesize, in minutes "
        "(default: half as much again)")  # fmt: skip
    parser.add_argument("--pretrain-updates", type=int, default=1500, help="(default 1500)")
    parser.add_argument("--finetune-updates", type=int, default=1000, help="(default 1000)")
    args = parser.parse_args()
    own: Path | None = args.data and args.data.resolve()
    if own is not None and not own.exists():
        parser.error(f"--data {args.data} does not exist")
    dest = args.dest or ROOT / "runs" / (f"quickstart-{own.name}" if own else "quickstart")
    commands = 1.5 * args.minutes if args.commands is None else args.commands
    updates = args.pretrain_updates, args.finetune_updates
    return Settings(dest.resolve(), args.minutes, commands, *updates, own)


def main() -> None:
    """Run all steps."""
    asked = settings()
    started = time.monotonic()
    # On a shared machine, waiting threads leave their core to other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # fairseq's, of newer torch and hydra
    with Children() as children:
        first, notes = preparation(asked), asked.dest / "steps"
        Steps(first, notes).run(children)
        Steps([*first, *learning(asked)], notes).run(children, first=len(first))
        print_scores(asked)
        recognizer = recognizer_of(asked)
        if recognizer is not None:
            use_words(asked, recognizer, children)
            transcribe_one(asked, recognizer, children)
    print(f"\npicture: {asked.dest / 'quickstart.png'}")
    if asked.results.is_dir():
        print(f"report: {asked.dest / 'report' / 'index.html'}")
    print(f"all of it took {(time.monotonic() - started) / 60:.1f} minutes")
    print_next(asked, recognizer)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nquickstart: interrupted; run this command again to resume: finished steps are "
                 "skipped, training resumes from its last checkpoint")  # fmt: skip
