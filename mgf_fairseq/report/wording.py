"""What tasks, their items and metrics are called, and in which order tasks are shown.

Under all of the report; a task that is not listed here is the label of a corpus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..evaluation.tasks import PROBE_TASKS, TASKS, task_named


@dataclass(frozen=True)
class Metric:
    """How a number is called and read."""

    title: str
    lower_is_better: bool = False
    shown: bool = True  # in the table; others are in the fold-outs
    unit: str = "%"

    @property
    def on_test(self) -> str:
        """Title and unit, for the axis of a picture."""
        return f"{self.title} on test" if self.unit in self.title else f"{self.title}, % of test"

    @property
    def differences(self) -> str:
        """The unit of a difference between two values."""
        return "points" if self.unit == "%" else self.unit


METRICS = {
    "accuracy": Metric("accuracy"),
    "accuracy_no_sil": Metric("accuracy without silence"),
    "uar": Metric("UAR (mean recall of the classes)"),
    "si_sdr_gain": Metric("gain in SI-SDR, dB", unit="dB"),
    "cer": Metric("CER", lower_is_better=True),
    "wer": Metric("WER", lower_is_better=True),
    "blank_ratio": Metric("blank ratio", shown=False),
}


def task_name(task: str) -> str:
    """A task in words."""
    return task_named(task).title


def items_of(task: str) -> str:
    """What is classified or transcribed."""
    return task_named(task).items


def metric_info(name: str) -> Metric:
    """What is known of a metric; an unknown one is taken as higher is better."""
    return METRICS.get(name, Metric(name))


def in_order(tasks: Iterable[str]) -> list[str]:
    """The evaluations' own tasks, the labels of corpora by name, enhancement, recognition."""

    def place(task: str) -> tuple[int, int, str]:
        if task in PROBE_TASKS:
            return 0, PROBE_TASKS.index(task), ""
        return (2, list(TASKS).index(task), "") if task in TASKS else (1, 0, task)

    return sorted(set(tasks), key=place)
