"""One fine-tuning of the recognition task: run to its end once, with what its processes leave.

evaluation/protocols/asr.py asks for one per seed; an interrupted one resumes, a finished one is
skipped. side_by_side.py runs several at a time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ...checkpoints.reading import BEST, LAST, read_checkpoint
from ...data.text import read_lines
from ...host.training_process import run_training
from ...utils.atomic import replace_file
from ..provenance import commit

_DONE, _COMMITS = "done", "commits"


class RecognitionError(ValueError):
    """The recognition task cannot be run; the message names the fix."""


@dataclass(frozen=True)
class Trained:
    """What a finished training says of itself."""

    seconds: float  # of all its processes, as fairseq counts them; lost updates count for nothing
    commits: list[str]  # of the code that each process ran, in order, without repeats


@dataclass(frozen=True)
class Training:
    """A fine-tuning that is to be run, or was."""

    name: str  # of its progress bar
    command: list[str]  # as ``training_command`` makes it, saving into `folder`
    folder: Path
    updates: int  # how many there will be

    def finished(self) -> Trained | None:
        """What it says of itself; None if it is not finished."""
        done = self.folder / _DONE
        if not (done.is_file() and (self.folder / BEST).is_file()):
            return None
        return Trained(**json.loads(done.read_text(encoding="utf-8")))

    def run(
        self,
        environment: Mapping[str, str] | None = None,
        start: Callable[..., subprocess.Popen[str]] = subprocess.Popen,
    ) -> Trained:
        """Train unless that is done already, and keep only the best checkpoint.

        Args:
            environment: variables to set for it, beside this process's own.
            start: what starts it, called as ``subprocess.Popen`` is.

        Raises:
            TrainingError: it stopped with an error.
            RecognitionError: no validation was run, so nothing could be chosen.
        """
        if (before := self.finished()) is not None:
            return before
        run = self.folder
        run.mkdir(parents=True, exist_ok=True)
        with (run / _COMMITS).open("a", encoding="utf-8") as stream:
            stream.write(f"{commit()}\n")
        shown = {"CTC loss per letter": "nll_loss"}
        run_training(self.command, run, self.updates, shown, self.name, None, environment, start)
        if not (run / BEST).is_file():
            raise RecognitionError(
                f"{run} holds no {BEST}: no validation was run; check the recipe's "
                "validate_interval_updates"
            )
        commits = read_lines(run / _COMMITS)
        trained = Trained(_seconds(run), list(dict.fromkeys(commits)))
        with replace_file(run / _DONE) as stream:
            json.dump(asdict(trained), stream)
        for path in run.glob("checkpoint*.pt"):
            if path.name != BEST:
                path.unlink()
        return trained


def _seconds(run: Path) -> float:
    """Training time up to the last checkpoint; fairseq adds it up over resumed processes."""
    last = run / LAST
    state = read_checkpoint(last if last.is_file() else run / BEST)
    return float(state["extra_state"]["previous_training_time"])
