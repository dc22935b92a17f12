"""The quickstart: a synthetic corpus, pre-training, the four evaluations, a picture and a report.

Each step is a command that is printed as you would type it; a second run skips finished steps.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgf_fairseq.cli.evaluate import table as evaluation_table
from mgf_fairseq.evaluation.result_files import read_results
from mgf_fairseq.host.training_process import (
    TrainingError,
    override,
    run_training,
    training_command,
)
from mgf_fairseq.monitoring.training_log import LOG_NAME, read_log
from mgf_fairseq.utils.package import config_dir
from mgf_fairseq.utils.processes import Children

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATH_AT_START = os.environ.get("MGF_PATH_AT_START", os.environ["PATH"])  # set by run.sh


@dataclass(frozen=True)
class Step:
    """A command, and the file whose presence shows that it ran."""

    title: str
    result: Path
    words: tuple[str | Path, ...]
    updates: int = 0  # of a training, which is shown by its numbers
    metrics: dict[str, str] = field(default_factory=dict)


class Steps:
    """Runs steps in order; one is finished if its result exists and no command up to it changed.

    For each step a file holds the commands up to it, since each affects those after it: NAME.begun
    is written at its start, NAME.done at its end.
    """

    def __init__(self, steps: Sequence[Step], notes: Path) -> None:
        self.steps, self.notes = steps, notes
        spoken = [shlex.join(map(str, step.words)) for step in steps]
        self.asked = ["\n".join(spoken[: number + 1]) for number in range(len(steps))]

    def run(self, children: Children) -> None:
        """Run unfinished steps; refuse to start over a training of other arguments."""
        for number, step in enumerate(self.steps):
            begun = self._note(number, "begun")
            asked = begun.read_text() if begun.exists() else None
            if step.updates and asked != self.asked[number] and (asked or step.result.exists()):
                sys.exit(f"quickstart: {step.result.parent} was begun with other arguments or by "
                         "another version; choose another --dest, or remove "
                         f"{self.notes.parent}")  # fmt: skip
        for number, step in enumerate(self.steps):
            done = self._note(number, "done")
            finished = step.result.exists() and done.exists()
            finished = finished and done.read_text() == self.asked[number]
            note = "  (finished, skipped)" if finished else ""
            print(f"\n[{number + 1}/{len(self.steps)}] {step.title}{note}", flush=True)
            if not finished:
                self.notes.mkdir(parents=True, exist_ok=True)
                self._note(number, "begun").write_text(self.asked[number])
                show(step.words)
                execute(step, children)
                done.write_text(self.asked[number])

    def _note(self, number: int, what: str) -> Path:
        return self.notes / f"{number + 1}.{what}"


def execute(step: Step, children: Children) -> None:
    """Run a step's command; exit if it fails."""
    words = [str(word) for word in step.words]
    if not step.updates:
        check(children.start(words, cwd=ROOT).wait(), step.words)
        return
    folder, start = step.result.parent, children.start
    try:
        run_training(words, folder, step.updates, step.metrics, cwd=ROOT, start=start)
    except TrainingError as error:
        print(error.tail)
        sys.exit(f"quickstart: {error}; finished steps are skipped")


def show(words: tuple[str | Path, ...]) -> None:
    """Print a command so that it can be copied."""
    shown = " ".join(shlex.quote(str(word)) for word in words)
    print(f"$ {shown}".replace(f"{sys.executable} ", "python ").replace(f"{ROOT}/", ""), flush=True)


def check(code: int, words: tuple[str | Path, ...]) -> None:
    """Exit if a command has failed."""
    if code:
        sys.exit(f"quickstart: {words[0]} stopped with exit code {code}; run this command again "
                 "after fixing the cause: finished steps are skipped")  # fmt: skip


def table(pretrain: Path) -> str:
    """Make the table of pre-training from its log: first and last update, last validation."""
    first, last = (read_log(pretrain / LOG_NAME, "train_inner")[i] for i in (0, -1))
    valid = read_log(pretrain / LOG_NAME, "valid")[-1]

    def row(scale: str, what: str, name: str, reference: str, form: Callable[..., str]) -> str:
        values = (form(entry[name]) for entry in (first, last, valid))
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


def plan(args: argparse.Namespace) -> list[Step]:
    """All steps, in order."""
    dest: Path = args.dest.resolve()
    corpus, data = dest / "corpus", dest / "data"
    pretrain, results, report = dest / "pretrain", dest / "results", dest / "report"
    checkpoint, picture = pretrain / "checkpoint_last.pt", dest / "quickstart.png"
    training = training_command(
        config_dir("pretrain") / "mgf_mini.yaml",
        ["run=cpu", override("task.data", data), override("checkpoint.save_dir", pretrain),
         f"optimization.max_update={args.pretrain_updates}",
         f"lr_scheduler.warmup_updates={args.pretrain_updates // 10}",
         f"common.log_interval={max(1, args.pretrain_updates // 100)}"],
    )  # fmt: skip
    evaluate = ("mgf", "evaluate", "--data", data, "--dest", results, "--device", "cpu")
    return [
        Step(f"Synthesize {args.minutes:g} minutes of speech", corpus / "metadata.tsv", (
            sys.executable, HERE / "corpus.py", "--dest", corpus, "--minutes", str(args.minutes),
        )),
        Step("Write manifests and labels", data / "dict.emo.txt", (
            "mgf", "prepare", corpus, "--dest", data, "--labels", "ltr,phn,spk,emo,fold",
            "--caveat", "synthetic voices: emotions are settings of rate, pitch and volume",
        )),
        Step("Check them", data / "check.json", (
            "mgf", "check", data, "--dest", data / "check.json",
        )),
        Step("Pre-train MGF", checkpoint, tuple(training), args.pretrain_updates, {
            "SI-SDR": "sample_si_sdr", "log-mel": "frame_mel", "contrastive": "phoneme_accuracy",
            "retrieval": "utterance_accuracy", "audio s/s": "audio_s_per_s",
        }),
        Step("Phonemes, speakers, emotions: probe it beside random weights and log-mel",
             results / "fbank" / "emotion.json", (
            *evaluate, "--checkpoint", checkpoint, f"random:{checkpoint}", "fbank",
            "--name", "mgf", "random", "fbank", "--tasks", "phone,speaker,emotion",
        )),
        Step("Speech recognition: fine-tune it with CTC, by fairseq's own recipe",
             results / "mgf" / "asr.json", (
            *evaluate, "--checkpoint", checkpoint, "--name", "mgf", "--tasks", "asr",
            "--asr-updates", str(args.finetune_updates),
            "--asr-override", "dataset.max_tokens=320000",
        )),
        Step("Draw what pre-training did", picture, (
            sys.executable, HERE / "picture.py", pretrain, data / "valid.tsv", picture,
        )),
        Step("Make a page of it all", report / "index.html", (
            "mgf", "report", results, "--dest", report,
        )),
    ]  # fmt: skip


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, prog="examples/quickstart/run.sh")
    parser.add_argument("--dest", type=Path, default=ROOT / "runs/quickstart", help="folder")
    parser.add_argument(
        "--minutes", type=float, default=25.0, help="audio to synthesize, in minutes"
    )
    parser.add_argument("--pretrain-updates", type=int, default=1500)
    parser.add_argument("--finetune-updates", type=int, default=600)
    args = parser.parse_args()
    started = time.monotonic()
    # On a shared machine, waiting threads leave their core to other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # fairseq's, of newer torch and hydra
    dest: Path = args.dest.resolve()
    with Children() as children:
        Steps(plan(args), dest / "steps").run(children)
    folders = [read_results(dest / "results" / name) for name in ("mgf", "random", "fbank")]
    print(f"\n{table(dest / 'pretrain')}\n\n{evaluation_table(folders)}")
    print(f"\npicture: {dest / 'quickstart.png'}\nreport: {dest / 'report' / 'index.html'}")
    print(f"all of it took {(time.monotonic() - started) / 60:.1f} minutes")
    if shutil.which("mgf", path=PATH_AT_START) is None:
        print("to continue from here: source .venv/bin/activate; mgf --help")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nquickstart: interrupted; run this command again to resume: finished steps are "
                 "skipped, training resumes from its last checkpoint")  # fmt: skip
