"""One fine-tuning of the recognition task: run to its end once, with what its processes leave.

evaluation/protocols/asr.py asks for one per seed; an interrupted one resumes, a finished one is
skipped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...checkpoints.reading import read_checkpoint
from ...data.text import read_lines
from ...host.training_process import run_training
from ...utils.atomic import replace_file
from ..provenance import commit

BEST = "checkpoint_best.pt"
_DONE, _COMMITS = "done", "commits"


class RecognitionError(ValueError):
    """The recognition task cannot be run; the message names the fix."""


@dataclass(frozen=True)
class Trained:
    """What a finished training says of itself."""

    seconds: float  # of all its processes, as fairseq counts them; lost updates count for nothing
    commits: list[str]  # of the code that each process ran, in order, without repeats


def train_once(command: Sequence[str], run: Path, updates: int, name: str) -> Trained:
    """Train unless that is done already, and keep only the best checkpoint.

    Args:
        command: as ``training_command`` makes it, saving into ``run``.
        run: folder of the training.
        updates: how many there will be.
        name: what its progress bar is called.

    Raises:
        TrainingError: it stopped with an error.
        RecognitionError: no validation was run, so nothing could be chosen.
    """
    done = run / _DONE
    if done.is_file() and (run / BEST).is_file():
        return Trained(**json.loads(done.read_text(encoding="utf-8")))
    run.mkdir(parents=True, exist_ok=True)
    with (run / _COMMITS).open("a", encoding="utf-8") as stream:
        stream.write(f"{commit()}\n")
    run_training(command, run, updates, {"CTC loss per letter": "nll_loss"}, name)
    if not (run / BEST).is_file():
        raise RecognitionError(
            f"{run} holds no {BEST}: no validation was run; check the recipe's "
            "validate_interval_updates"
        )
    commits = read_lines(run / _COMMITS)
    trained = Trained(_seconds(run), list(dict.fromkeys(commits)))
    with replace_file(done) as stream:
        json.dump(asdict(trained), stream)
    for path in run.glob("checkpoint*.pt"):
        if path.name != BEST:
            path.unlink()
    return trained


def _seconds(run: Path) -> float:
    """Training time up to the last checkpoint; fairseq adds it up over resumed processes."""
    last = run / "checkpoint_last.pt"
    state = read_checkpoint(last if last.is_file() else run / BEST)
    return float(state["extra_state"]["previous_training_time"])
