"""Run a fairseq training as a sub-process: its log kept, its numbers as a progress bar.

`mgf pretrain`, `mgf finetune`, speech recognition (evaluation/protocols/asr.py) and the quickstart
train through here; the training itself is stock ``fairseq-hydra-train``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ..monitoring.training_log import parse_line
from ..utils.package import package_dir
from ..utils.progress import bar

CONSOLE_LOG = "console.log"
PROGRAM = "fairseq-hydra-train"
_TAIL = 15  # lines of the log that an error shows
_WARNING = re.compile(r"\]\[mgf_fairseq[\w.]*\]\[WARNING\] - (.*)")
_PLAIN = re.compile(r"[\w./+@-]+")


class TrainingError(ValueError):
    """A training stopped before its end; `tail` holds the last lines of its log."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail


def override(key: str, value: object) -> str:
    """One hydra override; text that is more than a plain path is quoted for hydra's grammar."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = text.replace("'", "\\'")
    return f"{key}='{escaped}'"


def training_command(recipe: Path, overrides: Sequence[str]) -> list[str]:
    """The command for a recipe, a YAML file, with this package as ``common.user_dir``."""
    recipe = recipe.resolve()
    return [
        PROGRAM,
        "--config-dir",
        str(recipe.parent),
        "--config-name",
        recipe.stem,
        override("common.user_dir", package_dir()),
        *overrides,
    ]


def run_training(
    command: Sequence[str],
    folder: Path,
    updates: int,
    metrics: Mapping[str, str],
    description: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    start: Callable[..., subprocess.Popen[str]] = subprocess.Popen,
) -> None:
    """Run a training to its end, behind a progress bar on standard error.

    Args:
        command: as ``training_command`` makes it.
        folder: where its output is appended to console.log.
        updates: how many there will be.
        metrics: what the bar shows: a word -> the name of the logged number, with ``valid_`` before
            those of validation.
        description: what the bar is called.
        cwd: working directory.
        environment: variables to set for it, beside this process's own.
        start: what starts it, called as ``subprocess.Popen`` is.

    Raises:
        TrainingError: it stopped with an error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / CONSOLE_LOG
    tail: deque[str] = deque(maxlen=_TAIL)
    with (
        _end_with_us(),
        log.open("a", encoding="utf-8") as console,
        bar(
            total=updates, desc=description, unit="update", dynamic_ncols=True, smoothing=0.1
        ) as shown,
        start(
            [_executable(command[0]), *command[1:]],
            cwd=cwd,
            env=_whole_environment(environment or {}),
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        _follow(process, console, shown, metrics, tail)
        code = process.wait()
    if code:
        raise _error_of(command[0], code, log, tail)


def _whole_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a training finds in its environment."""
    # A shared or busy machine needs threads that give their core away while they wait; fairseq's
    # warnings are of newer versions of torch and hydra.
    polite = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}
    return {**polite, **os.environ, **environment, "HYDRA_FULL_ERROR": "1"}


def _follow(
    process: subprocess.Popen[str],
    console: TextIO,
    shown: tqdm[None],
    metrics: Mapping[str, str],
    tail: deque[str],
) -> None:
    """Write down and show what a training says, until it says no more; end it with this process."""
    assert process.stdout is not None
    latest: dict[str, float] = {}
    try:
        for line in process.stdout:
            console.write(line)
            tail.append(line)
            _show(shown, line, metrics, latest)
    except BaseException:
        process.terminate()
        console.writelines(process.stdout)  # it saves before it ends, and says so
        raise


def _error_of(program: str, code: int, log: Path, tail: deque[str]) -> TrainingError:
    reason = next((line.strip() for line in reversed(tail) if line.strip()), "no output")
    return TrainingError(
        f"{program} stopped with exit code {code} ({reason[:200]}); its whole log is "
        f"{log}. Fix the cause and run the same command again: training resumes",
        "".join(tail),
    )


@contextmanager
def _end_with_us() -> Iterator[None]:
    """Let SIGTERM unwind this process, so that a training it has started does not outlive it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _executable(program: str) -> str:
    """The program of the environment that runs this, whether or not it is activated."""
    beside = Path(sys.executable).parent / program
    return str(beside) if beside.is_file() else program


def _show(
    shown: tqdm[None], line: str, metrics: Mapping[str, str], latest: dict[str, float]
) -> None:
    """Move the bar by a line of the log; a warning of ours is written above it."""
    if warning := _WARNING.search(line):
        shown.write(warning[1], file=sys.stderr)
    entry = parse_line(line)
    if entry is None or entry[0] == "train":
        return
    kind, values = entry
    prefix = "valid_" if kind == "valid" else ""
    latest |= {f"{prefix}{name}": value for name, value in values.items()}
    numbers = [f"{word} {latest[name]:.3g}" for word, name in metrics.items() if name in latest]
    shown.set_postfix_str(", ".join(numbers), refresh=False)
    if kind == "train_inner":
        shown.update(int(values["num_updates"]) - shown.n)
