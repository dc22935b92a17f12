"""The quickstart: a synthetic corpus, pre-training, the four evaluations, a picture and a report.

Each step is a command that is printed as you would type it; a second run skips what stands.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mgf_fairseq.cli.evaluate import table as evaluation_table
from mgf_fairseq.evaluation.results import read_results
from mgf_fairseq.training_log import LOG_NAME, read_log
from mgf_fairseq.training_run import TrainingError, override, run_training, training_command

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATH_AT_START = os.environ.get("MGF_PATH_AT_START", os.environ["PATH"])  # set by run.sh


class Steps:
    """Runs steps in order, each one skipped where its result already stands."""

    def __init__(self, total: int) -> None:
        self.number, self.total = 0, total

    def announce(self, title: str, stands: bool) -> bool:
        """Print the step's title; tell whether there is work to do."""
        self.number += 1
        note = "  (stands, skipped)" if stands else ""
        print(f"\n[{self.number}/{self.total}] {title}{note}", flush=True)
        return not stands

    def command(self, title: str, result: Path, *words: str | Path) -> None:
        """Run a command that shows its own progress."""
        if self.announce(title, result.exists()):
            show(words)
            check(subprocess.run([str(w) for w in words], cwd=ROOT).returncode, words)

    def evaluation(self, title: str, done: Path, *words: str | Path) -> None:
        """Run a command that knows itself what stands; `done` holds the last one that ended."""
        asked = shlex.join(map(str, words))
        if self.announce(title, done.exists() and done.read_text() == asked):
            show(words)
            check(subprocess.run([str(w) for w in words], cwd=ROOT).returncode, words)
            done.write_text(asked)

    def training(
        self, title: str, run: Path, updates: int, metrics: dict[str, str], *words: str
    ) -> None:
        """Run a training behind a progress bar that shows the metrics that matter."""
        done = run / "done"
        asked = shlex.join(words)
        if not self.announce(title, done.exists()):
            if done.read_text() != asked:
                sys.exit(f"quickstart: {run} was made with other arguments; choose another --dest "
                         "or remove it")  # fmt: skip
            return
        show(words)
        try:
            run_training(words, run, updates, metrics, cwd=ROOT)
        except TrainingError as error:
            print(error.tail)
            sys.exit(f"quickstart: {error}; finished steps are skipped")
        done.write_text(asked)


def show(words: tuple[str | Path, ...]) -> None:
    """Print a command so that it can be copied."""
    shown = " ".join(shlex.quote(str(word)) for word in words)
    print(f"$ {shown}".replace(f"{sys.executable} ", "python ").replace(f"{ROOT}/", ""), flush=True)


def check(code: int, words: tuple[str | Path, ...]) -> None:
    """Stop where a command has failed."""
    if code:
        sys.exit(f"quickstart: {words[0]} stopped with exit code {code}; run this command again "
                 "after mending the cause: finished steps are skipped")  # fmt: skip


def table(pretrain: Path) -> str:
    """Make the closing table of pre-training from its log: the last line is of validation."""
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


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, prog="examples/quickstart/run.sh")
    parser.add_argument("--dest", type=Path, default=ROOT / "runs/quickstart", help="folder")
    parser.add_argument("--minutes", type=float, default=25.0, help="audio to synthesise")
    parser.add_argument("--pretrain-updates", type=int, default=400)
    parser.add_argument("--finetune-updates", type=int, default=600)
    args = parser.parse_args()
    dest: Path = args.dest.resolve()
    started = time.monotonic()
    # Threads that wait give their core to other work, which a shared or busy machine needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # fairseq's, of newer torch and hydra
    corpus, data = dest / "corpus", dest / "data"
    pretrain, results, report = dest / "pretrain", dest / "results", dest / "report"
    checkpoint = pretrain / "checkpoint_last.pt"
    steps = Steps(8)
    steps.command(
        f"Synthesise {args.minutes:g} minutes of speech", corpus / "metadata.tsv",
        sys.executable, HERE / "corpus.py", "--dest", corpus, "--minutes", str(args.minutes),
    )  # fmt: skip
    steps.command(
        "Write manifests and labels", data / "dict.emo.txt",
        "mgf", "prepare", corpus, "--dest", data, "--labels", "ltr,phn,spk,emo,fold", "--caveat",
        "synthetic voices: emotions are settings of rate, pitch and volume",
    )  # fmt: skip
    steps.command(
        "Check them", data / "check.json", "mgf", "check", data, "--json", data / "check.json"
    )
    steps.training(
        "Pre-train MGF", pretrain, args.pretrain_updates,
        {"SI-SDR": "sample_si_sdr", "log-mel": "frame_mel", "contrastive": "phoneme_accuracy",
         "retrieval": "utterance_accuracy", "audio s/s": "audio_s_per_s"},
        *training_command(
            ROOT / "examples/pretrain/config/mgf_small.yaml",
            ["run=cpu", override("task.data", data), override("checkpoint.save_dir", pretrain),
             f"optimization.max_update={args.pretrain_updates}",
             f"lr_scheduler.warmup_updates={args.pretrain_updates // 10}",
             "dataset.max_tokens=512000", "common.log_interval=5",
             "checkpoint.save_interval_updates=100"],
        ),
    )  # fmt: skip
    evaluate = ["mgf", "evaluate", "--data", data, "--dest", results, "--device", "cpu"]
    steps.evaluation(
        "Phonemes, speakers, emotions: probe it beside random weights and log-mel",
        dest / "probes.done", *evaluate, "--checkpoint", checkpoint, f"random:{checkpoint}",
        "fbank", "--name", "mgf", "random", "fbank", "--tasks", "phone,speaker,emotion",
    )  # fmt: skip
    steps.evaluation(
        "Speech recognition: fine-tune it with CTC, by fairseq's own recipe", dest / "asr.done",
        *evaluate, "--checkpoint", checkpoint, "--name", "mgf", "--tasks", "asr",
        "--asr-updates", str(args.finetune_updates),
        "--asr-override", "dataset.max_tokens=320000",
    )  # fmt: skip
    picture = dest / "quickstart.png"
    steps.command(
        "Draw what pre-training did", picture,
        sys.executable, HERE / "picture.py", pretrain, data / "valid.tsv", picture,
    )  # fmt: skip
    steps.command(
        "Make a page of it all", report / "index.html", "mgf", "report", results, "--dest", report
    )
    folders = [read_results(results / name) for name in ("mgf", "random", "fbank")]
    print(f"\n{table(pretrain)}\n\n{evaluation_table(folders)}")
    print(f"\npicture: {picture}\nreport: {report / 'index.html'}")
    print(f"all of it took {(time.monotonic() - started) / 60:.1f} minutes")
    if shutil.which("mgf", path=PATH_AT_START) is None:
        print("to go on from here: source .venv/bin/activate; mgf --help")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nquickstart: interrupted; run this command again to go on: finished steps are "
                 "skipped, training resumes from its last checkpoint")  # fmt: skip
