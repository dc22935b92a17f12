"""Columns and cells of the table of tasks x representations: means, spreads, bests, differences.

Between collect.py and the page, the Markdown and the JSON, which all show what is computed here.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..evaluation.results import ResultError, TaskResult
from .collect import (
    TASKS,
    Collection,
    Member,
    Result,
    Row,
    chosen_name,
    conditions,
    scores,
)

TASK_NAMES = {
    "phone": "phoneme classification",
    "speaker": "speaker classification",
    "emotion": "emotion classification",
    "asr": "speech recognition",
}
ITEMS = {"phone": "frames", "speaker": "segments", "emotion": "utterances", "asr": "words"}


@dataclass(frozen=True)
class Metric:
    """How a number is called and read."""

    title: str
    lower_is_better: bool = False
    shown: bool = True  # in the table; others stand in the fold-outs


METRICS = {
    "accuracy": Metric("accuracy"),
    "accuracy_no_sil": Metric("accuracy without silence"),
    "uar": Metric("UAR (mean recall of the classes)"),
    "cer": Metric("CER", lower_is_better=True),
    "wer": Metric("WER", lower_is_better=True),
    "blank_ratio": Metric("blank ratio", shown=False),
}


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
        name = TASK_NAMES.get(self.task, self.task)
        return f"{name} [{self.variant}]" if self.variant else name

    @property
    def heading(self) -> str:
        """The task in words, to stand at a beginning."""
        return self.task_title[:1].upper() + self.task_title[1:]

    @property
    def title(self) -> str:
        """Task and metric in words."""
        return f"{self.task_title}, {self.info.title}"

    @property
    def info(self) -> Metric:
        """What is known of the metric; an unknown one is taken as higher is better."""
        return METRICS.get(self.metric, Metric(self.metric))


@dataclass(frozen=True)
class Cell:
    """What one row reached in one column; percent."""

    mean: float
    spread: float | None  # standard deviation (n - 1); None of a single value
    count: int
    over: str  # "probe seeds", "fine-tuning seeds" or "pre-training seeds"
    low: float | None  # 95 % interval over test utterances; the leading metric only
    high: float | None
    single: dict[str, float]  # each seed by itself
    representation: str
    note: str  # what is incomplete
    best: bool = False
    difference: float | None = None  # to the chosen baseline


@dataclass(frozen=True)
class Table:
    """The whole table and what must be said beside it."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: dict[tuple[str, Column], Cell]  # by row label
    results: dict[tuple[str, str, str], list[Result]]  # by row label, task, variant
    baseline: str | None
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def variants(self, task: str) -> list[Column]:
        """Return the leading column of each variant of a task."""
        return [column for column in self.columns if column.task == task and column.leading]


def make_table(collection: Collection, baseline: str | None = None) -> Table:
    """Compute the table.

    Raises:
        ResultError: there is no row called `baseline`.
    """
    labels = [row.label for row in collection.rows]
    if baseline is not None and baseline not in labels:
        raise ResultError(f"--baseline {baseline}: no such row; there are {', '.join(labels)}")
    variants, notes = _variants(collection.rows)
    columns: list[Column] = []
    by_key: dict[tuple[str, str, str], list[Result]] = {}
    for (task, key), variant in variants.items():
        for row in collection.rows:
            found = [r for m in row.members if (r := _result(m, task, key))]
            if found:
                by_key[row.label, task, variant] = found
        columns += _columns(task, variant, [r for (_, t, v), rs in by_key.items()
                                            if (t, v) == (task, variant) for r in rs])  # fmt: skip
    keys = {(task, variant): key for (task, key), variant in variants.items()}
    cells = {
        (row.label, column): cell
        for column in columns
        for row in collection.rows
        if (cell := make_cell(row, column, keys[column.task, column.variant]))
    }
    cells = _compared(cells, columns, baseline)
    missing = _missing(collection.rows, columns, cells)
    notes = [*collection.notes, *notes]
    return Table(
        tuple(columns), collection.rows, cells, by_key, baseline, tuple(notes), tuple(missing)
    )


def _key(result: Result) -> str:
    return json.dumps(conditions(result), sort_keys=True, default=str)


def _result(member: Member, task: str, key: str) -> Result | None:
    return next((r for r in member.results if r.task == task and _key(r) == key), None)


def _variants(rows: Sequence[Row]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Give each set of conditions of a task a letter where there are several, and say so."""
    named: dict[tuple[str, str], str] = {}
    notes: list[str] = []
    for task in TASKS:
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            for member in row.members:
                for result in member.results:
                    if result.task == task:
                        found.setdefault(_key(result), conditions(result))
        for index, key in enumerate(found):
            named[task, key] = chr(ord("A") + index) if len(found) > 1 else ""
        if len(found) > 1:
            notes.append(_told_apart(task, list(found.values())))
    return named, notes


def _told_apart(task: str, found: Sequence[dict[str, Any]]) -> str:
    """Say in which conditions the variants of a task differ."""
    names = sorted({name for fields in found for name in fields})
    differing = [n for n in names if len({str(fields.get(n)) for fields in found}) > 1]
    if "data.folder" in differing:  # other data are of other sizes
        differing = [n for n in differing if n == "data.folder" or not n.startswith("data.")]
    letters = [chr(ord("A") + index) for index in range(len(found))]
    told = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{letter} {_short(fields.get(name, 'not given'))}"
            for letter, fields in zip(letters, found, strict=True)
        )
        for name in differing
    )
    return (
        f"{TASK_NAMES[task]} was measured in {len(found)} ways that cannot be compared, so each "
        f"has columns of its own ({told})"
    )


def _short(value: Any) -> str:
    text = f"{len(value)} values" if isinstance(value, list) and len(value) > 8 else str(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _columns(task: str, variant: str, results: Sequence[Result]) -> list[Column]:
    """Return a column per metric, the leading one first."""
    leading = results[0].metric
    names = dict.fromkeys([leading, *(name for r in results for name in scores(r))])
    chance: dict[str, float] = {}
    for result in results:
        if isinstance(result, TaskResult):
            chance = {**result.chance, **chance}
    return [
        Column(task, name, variant, name == leading, chance.get(name))
        for name in names
        if METRICS.get(name, Metric(name)).shown
    ]


def make_cell(row: Row, column: Column, key: str) -> Cell | None:
    """Average a row's results in a column: over probe seeds, then over pre-training seeds."""
    found = [(m, r) for m in row.members if (r := _result(m, column.task, key))]
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
        single=single,
        representation=" / ".join(dict.fromkeys(chosen_name(r) for _, r in found)),
        note=note,
    )


def _compared(
    cells: dict[tuple[str, Column], Cell], columns: Sequence[Column], baseline: str | None
) -> dict[tuple[str, Column], Cell]:
    """Mark the best of each column and set the differences to the baseline."""
    made = {}
    for column in columns:
        inside = {label: cell for (label, c), cell in cells.items() if c == column}
        means = [cell.mean for cell in inside.values()]
        best = (min if column.info.lower_is_better else max)(means, default=math.nan)
        reference = inside.get(baseline) if baseline else None
        for label, cell in inside.items():
            difference = cell.mean - reference.mean if reference and label != baseline else None
            made[label, column] = replace(
                cell, best=len(inside) > 1 and cell.mean == best, difference=difference
            )
    return made


def _missing(
    rows: Sequence[Row], columns: Sequence[Column], cells: dict[tuple[str, Column], Cell]
) -> list[str]:
    """Say which row lacks which task, and which row is incomplete."""
    told = []
    for task in TASKS:
        leading = [column for column in columns if column.task == task and column.leading]
        if not leading:
            told.append(f"no results of {TASK_NAMES[task]} at all")
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
