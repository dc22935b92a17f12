"""The quickstart: a synthetic corpus, pre-training, fine-tuning, a score, a table and a picture.

Each step is a command that is printed as you would type it; a second run skips what stands.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from mgf_fairseq.training_log import LOG_NAME, parse_line, read_log

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATH_AT_START = os.environ.get("MGF_PATH_AT_START", os.environ["PATH"])  # set by run.sh


class Steps:
    """Runs steps in order, each one skipped where its result already stands."""

    def __init__(self, total: int) -> None:
        self.number, self.total = 0, total

    def announce(self, title: str, result: Path) -> bool:
        """Print the step's title; tell whether there is work to do."""
        self.number += 1
        stands = result.exists()
        note = "  (stands, skipped)" if stands else ""
        print(f"\n[{self.number}/{self.total}] {title}{note}", flush=True)
        return not stands

    def command(self, title: str, result: Path, *words: str | Path) -> None:
        """Run a command that shows its own progress."""
        if self.announce(title, result):
            show(words)
            check(subprocess.run([str(w) for w in words], cwd=ROOT).returncode, words)

    def training(
        self, title: str, run: Path, updates: int, metrics: dict[str, str], *words: str
    ) -> None:
        """Run a training behind a progress bar that shows the metrics that matter."""
        done = run / "done"
        asked = shlex.join(words)
        if not self.announce(title, done):
            if done.read_text() != asked:
                sys.exit(f"quickstart: {run} was made with other arguments; choose another --dest "
                         "or remove it")  # fmt: skip
            return
        show(words)
        check(follow(words, run, updates, metrics), words, run / "console.log")
        done.write_text(asked)


def show(words: tuple[str | Path, ...]) -> None:
    """Print a command so that it can be copied."""
    shown = " ".join(shlex.quote(str(word)) for word in words)
    print(f"$ {shown}".replace(f"{sys.executable} ", "python ").replace(f"{ROOT}/", ""), flush=True)


def check(code: int, words: tuple[str | Path, ...], log: Path | None = None) -> None:
    """Stop with the end of the log where a command has failed."""
    if code == 0:
        return
    if log is not None:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:]))
        print(f"The whole log: {log}")
    sys.exit(f"quickstart: {words[0]} stopped with exit code {code}; run this command again after "
             "mending the cause: finished steps are skipped, training resumes")  # fmt: skip


def follow(words: tuple[str, ...], run: Path, updates: int, metrics: dict[str, str]) -> int:
    """Run a training, its output in console.log, its log lines as a progress bar."""
    run.mkdir(parents=True, exist_ok=True)
    with (
        (run / "console.log").open("a") as console,
        tqdm(total=updates, unit="update", dynamic_ncols=True, smoothing=0.1) as bar,
    ):
        process = subprocess.Popen(
            words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        for line in process.stdout:
            console.write(line)
            entry = parse_line(line)
            if entry and entry[0] == "train_inner":
                values = entry[1]
                bar.update(int(values["num_updates"]) - bar.n)
                shown = [f"{k} {values[m]:.3g}" for k, m in metrics.items() if m in values]
                bar.set_postfix_str(", ".join(shown))
        return process.wait()


def hydra(config: str, *overrides: str) -> tuple[str, ...]:
    """Make a fairseq-hydra-train command."""
    folder, name = config.rsplit("/", 1)
    command = ["mgf", "user-dir"]
    user_dir = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return (
        "fairseq-hydra-train", "--config-dir", f"examples/{folder}", "--config-name", name,
        f"common.user_dir={user_dir}", *overrides,
    )  # fmt: skip


def table(pretrain: Path, score: Path) -> str:
    """Make the closing table from the last validation and the score."""
    first, last = (read_log(pretrain / LOG_NAME, "train_inner")[i] for i in (0, -1))
    valid = read_log(pretrain / LOG_NAME, "valid")[-1]
    scored = json.loads(score.read_text())["corpus"]

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
    lines.append(
        f"\nspeech recognition on {scored['utterances']} sentences by voices that training never "
        f"heard:\nWER {scored['wer']:.1f} %, CER {scored['cer']:.1f} % (greedy, no language model)"
    )
    return "\n".join(lines)


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, prog="examples/quickstart/run.sh")
    parser.add_argument("--dest", type=Path, default=ROOT / "runs/quickstart", help="folder")
    parser.add_argument("--minutes", type=float, default=25.0, help="audio to synthesise")
    parser.add_argument("--pretrain-updates", type=int, default=450)
    parser.add_argument("--finetune-updates", type=int, default=800)
    args = parser.parse_args()
    dest: Path = args.dest.resolve()
    started = time.monotonic()
    # Threads that wait give their core to other work, which a shared or busy machine needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # fairseq's, of newer torch and hydra
    corpus, data = dest / "corpus", dest / "data"
    pretrain, finetune, score = dest / "pretrain", dest / "finetune", dest / "score.json"
    steps = Steps(7)
    steps.command(
        f"Synthesise {args.minutes:g} minutes of speech", corpus / "metadata.tsv",
        sys.executable, HERE / "corpus.py", "--dest", corpus, "--minutes", str(args.minutes),
    )  # fmt: skip
    steps.command(
        "Write manifests and labels", data / "dict.ltr.txt",
        "mgf", "prepare", corpus, "--dest", data, "--labels", "ltr",
    )  # fmt: skip
    steps.command(
        "Check them", data / "check.json", "mgf", "check", data, "--json", data / "check.json"
    )
    steps.training(
        "Pre-train MGF", pretrain, args.pretrain_updates,
        {"SI-SDR": "sample_si_sdr", "log-mel": "frame_mel", "contrastive": "phoneme_accuracy",
         "retrieval": "utterance_accuracy", "audio s/s": "audio_s_per_s"},
        *hydra(
            "pretrain/config/mgf_small", "run=cpu", f"task.data={data}",
            f"checkpoint.save_dir={pretrain}", f"optimization.max_update={args.pretrain_updates}",
            f"lr_scheduler.warmup_updates={args.pretrain_updates // 10}",
            "dataset.max_tokens=512000", "common.log_interval=5",
            "checkpoint.save_interval_updates=100",
        ),
    )  # fmt: skip
    steps.training(
        "Fine-tune it with CTC, by fairseq's own recipe", finetune, args.finetune_updates,
        {"CTC loss per letter": "nll_loss"},
        *hydra(
            "finetune/config/ctc_quick", f"task.data={data}", f"checkpoint.save_dir={finetune}",
            f"model.w2v_path={pretrain}/checkpoint_last.pt", "common.cpu=true",
            f"optimization.max_update={args.finetune_updates}", "dataset.max_tokens=320000",
            "common.log_interval=5", "dataset.num_workers=1",
            "checkpoint.save_interval_updates=200", "dataset.validate_interval_updates=200",
        ),
    )  # fmt: skip
    steps.command(
        "Score it", score,
        "mgf", "score", "--checkpoint", finetune / "checkpoint_best.pt",
        "--manifest", data / "test.tsv", "--worst", "3", "--output", score,
    )  # fmt: skip
    picture = dest / "quickstart.png"
    steps.command(
        "Draw what pre-training did", picture,
        sys.executable, HERE / "picture.py", pretrain, data / "valid.tsv", picture,
    )  # fmt: skip
    print(f"\n{table(pretrain, score)}\n\npicture: {picture}")
    print(f"all of it took {(time.monotonic() - started) / 60:.1f} minutes")
    if shutil.which("mgf", path=PATH_AT_START) is None:
        print("to go on from here: source .venv/bin/activate; mgf --help")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nquickstart: interrupted; run this command again to go on: finished steps are "
                 "skipped, training resumes from its last checkpoint")  # fmt: skip
