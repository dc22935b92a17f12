"""What `mgf pretrain` and `mgf finetune` share: run a plan behind a bar, then say how it went.

The verbs choose the plan and what to type next.
"""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..train.plans import Plan

Add = Callable[..., Any]


def add_plan_arguments(add: Add, folder: str) -> None:
    """Add what both verbs take, with the folder of a run as the default; the settings come last."""
    what = f"folder of checkpoints and logs (default: {folder})"
    add("--dest", type=Path, metavar="RUN", help=what)
    add(
        "--updates",
        type=int,
        metavar="N",
        help="number of updates; warm-up and decay of the learning rate keep their shares of them "
        "(default: the recipe's)",
    )
    add(
        "--hours",
        type=float,
        metavar="H",
        help="time to train, in hours; then it saves and ends. The learning rate follows the "
        "updates: with --updates its decay ends in time too (default: no limit)",
    )
    add(
        "--print",
        action="store_true",
        help="print the fairseq-hydra-train command and do not run it",
    )
    add(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="further settings as fairseq-hydra-train takes them, as in optimization.lr=[0.001]",
    )


def run_plan(args: argparse.Namespace, plan: Plan, following: Sequence[str]) -> int:
    """Print the command, run it, and end with its health and what to type next."""
    from ..host.training_process import CONSOLE_LOG, run_training

    print(f"$ {shlex.join(plan.command)}", flush=True)
    args.result = {"command": plan.command, "folder": plan.folder, "updates": plan.updates}
    if args.print:
        return 0
    print(f"log: {plan.folder / CONSOLE_LOG}", flush=True)
    try:
        run_training(plan.command, plan.folder, plan.updates, plan.metrics)
    except KeyboardInterrupt:
        print("stopped; the same command resumes from the last checkpoint", flush=True)
        raise
    found, healthy = _outcome(plan)
    args.result |= {"outcome": found, "healthy": healthy}
    print("\n".join([*found, *["", "next:"] * bool(following), *(f"  {x}" for x in following)]))
    return 0


def _outcome(plan: Plan) -> tuple[list[str], bool]:
    """What the log of a training says at its end, in words; and whether it is healthy."""
    from ..monitoring.health import diagnose
    from ..monitoring.training_log import LOG_NAME, read_log
    from .health import words

    log = plan.folder / LOG_NAME
    entries, valid = read_log(log, "train_inner"), read_log(log, "valid")
    done = int(max([entry.get("num_updates", 0) for entry in [*entries, *valid]], default=0))
    lines = [f"{done} of {plan.updates} updates done: {plan.folder}"]
    if valid:
        own = {word: name for word, name in plan.metrics.items() if name.startswith("valid_")}
        numbers = [
            f"{word.removesuffix(' on valid')} {valid[-1][short]:.4g}"
            for word, name in (own or plan.metrics).items()
            if name != "audio_s_per_s"
            and math.isfinite(valid[-1].get(short := name.removeprefix("valid_"), math.nan))
        ]
        lines.append(f"on held-out data: {', '.join(numbers)}")
    diagnosis = diagnose(entries)
    if not diagnosis.windows:
        return [*lines, "too few updates to judge its health"], True
    return [*lines, *words(diagnosis)], not diagnosis.now
