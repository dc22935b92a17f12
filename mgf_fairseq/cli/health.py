"""`mgf health`: the verdict on a training, running or finished, from its log.

Prints what health.py says of the entries that monitoring/training_log.py reads.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from ..monitoring.health import Diagnosis, diagnose
from ..monitoring.history import Window, objectives
from ..monitoring.training_log import JSONL_NAME, LOG_NAME, read_jsonl, read_log

HELP = "whether a training is healthy, what is wrong with it, and which setting to change"
EXAMPLES = """\
examples:
  mgf health runs/mgf_small/all
  mgf health results/mgf              a result folder, which keeps the log's numbers

A training logs the same verdicts while it runs (task.health=false turns that off). Exit code:
0 healthy, 1 not.
"""
_WIDTH, _ROWS = 100, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf health`."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help=f"folder of checkpoints with its {LOG_NAME}, result folder, or the log itself",
    )


def run(args: argparse.Namespace) -> int:
    """Print a table and the verdicts; return 0 if the training is healthy at its end."""
    path = _log_of(args.run)
    reader = read_jsonl if path.suffix == ".jsonl" else read_log
    diagnosis = diagnose(reader(path, "train_inner"))
    if not diagnosis.windows:
        raise ValueError(
            f"{path} holds no 25 updates of a training; its lines are written with "
            "common.log_format=json, every common.log_interval updates"
        )
    args.result = {
        "log": path,
        "healthy": not diagnosis.now,
        "update": diagnosis.windows[-1].update,
        "now": diagnosis.now,
        "episodes": diagnosis.episodes,
        "numbers": dict(diagnosis.windows[-1].values),
    }
    print("\n".join([*_table(diagnosis.windows), "", *words(diagnosis)]))
    return 1 if diagnosis.now else 0


def _log_of(run: Path) -> Path:
    if run.is_file():
        return run
    for name in (LOG_NAME, JSONL_NAME):
        if (run / name).is_file():
            return run / name
    raise FileNotFoundError(f"{run}: no {LOG_NAME} or {JSONL_NAME} there")


def _table(windows: list[Window]) -> list[str]:
    """Show some windows, evenly spread: losses, the flattest level, gradient, wait."""
    last = len(windows) - 1
    chosen = sorted({round(i * last / (_ROWS - 1)) for i in range(_ROWS)})
    names = [f"loss_{name}" for name in objectives(windows[-1].values)]
    head = ["update", *names, "least std", "gnorm", "data_wait"]
    rows = [head]
    for window in (windows[i] for i in chosen):
        values = dict(window.values)
        stds = [value for name, value in values.items() if name.startswith("std_")]
        values |= {"update": window.update} | ({"least std": min(stds)} if stds else {})
        rows.append([f"{values[name]:.4g}" if name in values else "-" for name in head])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]


def words(diagnosis: Diagnosis) -> list[str]:
    """Say what is wrong now and since when, then what was."""
    update = diagnosis.windows[-1].update
    since = {episode.verdict.key: episode.begin for episode in diagnosis.episodes}
    texts = [f"since update {since[verdict.key]}: {verdict}" for verdict in diagnosis.now]
    texts += [
        f"update {episode.begin} to {episode.end}, over: {episode.verdict}"
        for episode in diagnosis.episodes
        if episode.end != update
    ]
    lines = [f"{'not ' * bool(diagnosis.now)}healthy at update {update}"]
    for text in texts:
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="- ",
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return lines
