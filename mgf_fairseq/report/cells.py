"""Columns and cells of the table: means, spreads, bests, differences, and what is missing.

Under table.py, which says which columns there are.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..evaluation.tasks import USUAL_TASKS
from .collect import Member, Result, Row, chosen_name, conditions, scores
from .paired import Paired, compare
from .wording import Metric, in_order, metric_info, task_name


@dataclass(frozen=True)
class Column:
    """One metric of one task under one set of conditions."""

    task: str
    metric: str
    variant: str  # "" where all rows share the conditions, else A, B, ...
    leading: bool
    chance: float | None  # percent

    @property
    def task_title(self) -> str:
        """The task in words, with the variant."""
        name = task_name(self.task)
        return f"{name} [{self.variant}]" if self.variant else name

    @property
    def heading(self) -> str:
        """The task in words, capitalized."""
        return self.task_title[:1].upper() + self.task_title[1:]

    @property
    def title(self) -> str:
        """Task and metric in words."""
        return f"{self.task_title}, {self.info.title}"

    @property
    def info(self) -> Metric:
        """What is known of the metric."""
        return metric_info(self.metric)


@dataclass(frozen=True)
class Cell:
    """What one row reached in one column; percent, or the unit of its metric."""

    mean: float
    spread: float | None  # standard deviation (n - 1); None of a single value
    count: int
    over: str  # "probe seeds", "fine-tuning seeds" or "pre-training seeds"
    low: float | None  # 95 % interval; the leading metric only
    high: float | None
    interval_over: str  # what is drawn for it: speakers, or utterances
    single: dict[str, float]  # each seed by itself
    representation: str
    note: str  # what is incomplete
    best: bool = False
    difference: float | None = None  # to the row that all are compared with
    difference_low: float | None = None  # 95 % interval of it, paired; None: no counts to pair
    difference_high: float | None = None
    difference_over: str = ""  # what is drawn for that


def key_of(result: Result) -> str:
    """The conditions of a result as text; equal ones may share a column."""
    return json.dumps(conditions(result), sort_keys=True, default=str)


def result_under(member: Member, task: str, key: str) -> Result | None:
    """The member's result of a task under these conditions, if it has one."""
    return next((r for r in member.results if r.task == task and key_of(r) == key), None)


def make_cell(row: Row, column: Column, key: str) -> Cell | None:
    """Average a row's results in a column: over probe seeds, then over pre-training seeds."""
    found = [(m, r) for m in row.members if (r := result_under(m, column.task, key))]
    found = [(m, r) for m, r in found if scores(r).get(column.metric)]
    if not found:
        return None
    means = [statistics.fmean(scores(r)[column.metric]) for _, r in found]
    if len(found) == 1:
        result = found[0][1]
        single = {
            f"seed {seed}": value
            for seed, value in zip(result.seeds, scores(result)[column.metric], strict=False)
        }
        values = scores(result)[column.metric]
        over = "fine-tuning seeds" if column.task == "asr" else "probe seeds"
    else:
        single = {
            f"pre-training seed {m.upstream.seed} ({m.upstream.name})": mean
            for (m, _), mean in zip(found, means, strict=True)
        }
        values, over = means, "pre-training seeds"
    note = ""
    if len(found) < len(row.members):
        note = f"{len(found)} of {len(row.members)} pre-training seeds"
    return Cell(
        mean=statistics.fmean(means),
        spread=statistics.stdev(values) if len(values) > 1 else None,
        count=len(values),
        over=over,
        low=statistics.fmean(r.low for _, r in found) if column.leading else None,
        high=statistics.fmean(r.high for _, r in found) if column.leading else None,
        interval_over=" / ".join(dict.fromkeys(r.interval_over for _, r in found))
        if column.leading
        else "",
        single=single,
        representation=" / ".join(dict.fromkeys(chosen_name(r) for _, r in found)),
        note=note,
    )


def compared(
    cells: dict[tuple[str, Column], Cell],
    columns: Sequence[Column],
    baseline: str | None,
    results: dict[tuple[str, str, str], list[Result]],
) -> dict[tuple[str, Column], Cell]:
    """Mark the best of each column and set the differences to the baseline."""
    made = {}
    for column in columns:
        inside = {label: cell for (label, c), cell in cells.items() if c == column}
        means = [cell.mean for cell in inside.values()]
        best = (min if column.info.lower_is_better else max)(means, default=math.nan)
        reference = inside.get(baseline) if baseline else None
        for label, cell in inside.items():
            cell = replace(cell, best=len(inside) > 1 and cell.mean == best)
            if reference and baseline and label != baseline:
                cell = replace(cell, difference=cell.mean - reference.mean)
                if paired := compare_rows(results, label, baseline, column):
                    cell = replace(
                        cell,
                        difference_low=paired.low,
                        difference_high=paired.high,
                        difference_over=paired.over,
                    )
            made[label, column] = cell
    return made


def compare_rows(
    results: dict[tuple[str, str, str], list[Result]], one: str, other: str, column: Column
) -> Paired | None:
    """The difference of two rows in a column; None where one has no result there."""
    ones, others = (results.get((row, column.task, column.variant), []) for row in (one, other))
    return compare(column.metric, ones, others) if ones and others else None


def unpaired(columns: Sequence[Column], cells: dict[tuple[str, Column], Cell]) -> list[str]:
    """Say which differences have no interval, and what gives them one."""
    told = []
    for column in (column for column in columns if column.leading):
        names = [
            label
            for (label, c), cell in cells.items()
            if c == column and cell.difference is not None and cell.difference_low is None
        ]
        if names:
            told.append(
                f"no paired differences in {column.task_title} for {', '.join(names)}: results of "
                "earlier versions hold no counts per utterance; remove the files of the task, and "
                "evaluate again"
            )
    return told


def missing_cells(
    rows: Sequence[Row], columns: Sequence[Column], cells: dict[tuple[str, Column], Cell]
) -> list[str]:
    """Say which row lacks which task, and which row is incomplete."""
    told = []
    for task in in_order([*USUAL_TASKS, *(column.task for column in columns)]):
        leading = [column for column in columns if column.task == task and column.leading]
        if not leading:
            told.append(f"no results of {task_name(task)} at all")
        for column in leading:
            absent = [row for row in rows if (row.label, column) not in cells]
            if absent:
                names = ", ".join(row.label for row in absent)
                told.append(f"no {column.task_title} for {names}")
            told += [
                f"{column.task_title} for {row.label}: only {cells[row.label, column].note}"
                for row in rows
                if (row.label, column) in cells and cells[row.label, column].note
            ]
    return told
