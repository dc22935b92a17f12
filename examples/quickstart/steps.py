"""The steps of the quickstart: commands that run in order, are printed, and are skipped once done.

quickstart.py runs what plans.py lists.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mgf_fairseq.host.training_process import TrainingError, run_training
from mgf_fairseq.utils.processes import Children

ROOT = Path(__file__).resolve().parents[2]


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

    def run(self, children: Children, first: int = 0) -> None:
        """Run unfinished steps from `first` on; refuse to train over a run of other arguments."""
        for number, step in enumerate(self.steps):
            begun = self._note(number, "begun")
            asked = begun.read_text() if begun.exists() else None
            if step.updates and asked != self.asked[number] and (asked or step.result.exists()):
                sys.exit(f"quickstart: {step.result.parent} was begun with other arguments or by "
                         "another version; choose another --dest, or remove "
                         f"{self.notes.parent}")  # fmt: skip
        for number, step in list(enumerate(self.steps))[first:]:
            done = self._note(number, "done")
            finished = step.result.exists() and done.exists()
            finished = finished and done.read_text() == self.asked[number]
            note = "  (finished, skipped)" if finished else ""
            print(f"\n[{number + 1}] {step.title}{note}", flush=True)
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


def show(words: tuple[str | Path, ...], indent: str = "") -> None:
    """Print a command so that it can be copied."""
    shown = " ".join(shlex.quote(str(word)) for word in words)
    shown = f"{indent or '$ '}{shown}".replace(f"{sys.executable} ", "python ")
    print(shown.replace(f"{ROOT}/", ""), flush=True)


def check(code: int, words: tuple[str | Path, ...]) -> None:
    """Exit if a command has failed."""
    if code:
        sys.exit(f"quickstart: {words[0]} stopped with exit code {code}; run this command again "
                 "after fixing the cause: finished steps are skipped")  # fmt: skip
