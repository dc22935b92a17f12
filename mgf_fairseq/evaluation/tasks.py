"""The one table of tasks: each one's version, the labels that it needs, and its words.

Below all of the evaluation and the report; the code of a task is a file of protocols/.
"""

from __future__ import annotations

from dataclasses import dataclass

from .results import ENHANCEMENT, RECOGNITION


@dataclass(frozen=True)
class Task:
    """What is known of a task by its name alone."""

    version: int  # of its protocol; 1 is not written into results, so that their keys stay
    labels: str | None  # ending of the label files that it cannot do without; None: it depends
    title: str
    items: str  # what is classified or transcribed
    probed: bool = True  # as a classification, by a probe on features of a frozen encoder
    usual: bool = True  # run where no tasks are named, and missed in a report that lacks it


# Raise a version by hand when a change of the code changes what the task measures beyond rounding,
# where the protocol's own words and numbers stay the same. Reports show tasks in this order.
TASKS = {
    "phone": Task(1, "phn", "phoneme classification", "frames"),
    "speaker": Task(1, "spk", "speaker classification", "segments"),
    "emotion": Task(2, "emo", "emotion classification", "utterances"),
    ENHANCEMENT: Task(1, None, "speech enhancement", "frames", probed=False, usual=False),
    RECOGNITION: Task(2, None, "speech recognition", "words", probed=False),
}
USUAL_TASKS = tuple(name for name, task in TASKS.items() if task.usual)
PROBE_TASKS = tuple(name for name, task in TASKS.items() if task.probed)


def task_named(name: str) -> Task:
    """A task of the table, or what any label of a corpus is."""
    return TASKS.get(name) or Task(1, name, f"{name} classification", "utterances")
