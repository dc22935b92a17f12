"""The table of tasks x representations: which columns there are, and all of its cells.

Between collect.py and the page, the Markdown and the JSON, which all show what is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..evaluation.result_files import ResultError
from ..evaluation.results import ENHANCEMENT, UNTRAINED, ProbedResult
from .cells import (
    Cell,
    Column,
    compare_rows,
    compared,
    key_of,
    make_cell,
    missing_cells,
    result_under,
    unpaired,
)
from .collect import Collection, Result, Row, conditions, scores
from .paired import Paired
from .wording import in_order, metric_info, task_name


@dataclass(frozen=True)
class Table:
    """The whole table and what must be said beside it."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: dict[tuple[str, Column], Cell]  # by row label
    results: dict[tuple[str, str, str], list[Result]]  # by row label, task, variant
    baseline: str | None  # the row that all are compared with
    notes: tuple[str, ...]
    missing: tuple[str, ...]

    def variants(self, task: str) -> list[Column]:
        """Return the leading column of each variant of a task."""
        return [column for column in self.columns if column.task == task and column.leading]

    @property
    def tasks(self) -> list[str]:
        """The tasks that were measured, in the order of the page."""
        return in_order(column.task for column in self.columns)

    def compare(self, one: str, other: str, column: Column) -> Paired | None:
        """The paired interval of the difference between two rows; None: nothing to pair."""
        return compare_rows(self.results, one, other, column)

    @property
    def units(self) -> str:
        """What numbers are in, as a sentence."""
        others = {column.info.title for column in self.columns if column.info.unit != "%"}
        return f"percent ({', '.join(sorted(others))})" if others else "percent"

    @property
    def chance_words(self) -> str:
        """How the line of chance is reached."""
        masked = any(column.task == ENHANCEMENT for column in self.columns)
        return f"most frequent class{'; enhancement: one mask for all frames' if masked else ''}"

    def drawn_over(self, column: Column) -> str:
        """What intervals in a column are drawn over; several where its rows differ."""
        cells = (cell for (_, c), cell in self.cells.items() if c.task_title == column.task_title)
        over = [words for cell in cells for words in (cell.interval_over, cell.difference_over)]
        return " / ".join(dict.fromkeys(words for words in over if words))


def make_table(collection: Collection, baseline: str | None = None) -> Table:
    """Compute the table.

    Args:
        collection: the rows.
        baseline: label of the row that all are compared with; if None, log-mel, or whichever row is
            not an MGF model.

    Raises:
        ResultError: there is no row called `baseline`.
    """
    labels = [row.label for row in collection.rows]
    if baseline is not None and baseline not in labels:
        raise ResultError(f"--against {baseline}: no such row; there are {', '.join(labels)}")
    baseline = baseline or _usual_baseline(collection.rows)
    variants, notes = _variants(collection.rows)
    columns: list[Column] = []
    by_key: dict[tuple[str, str, str], list[Result]] = {}
    for (task, key), variant in variants.items():
        for row in collection.rows:
            found = [r for m in row.members if (r := result_under(m, task, key))]
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
    cells = compared(cells, columns, baseline, by_key)
    missing = [*missing_cells(collection.rows, columns, cells), *unpaired(columns, cells)]
    notes = [*collection.notes, *notes, *_heard_before(collection.rows)]
    missing += _unknown_overlap(collection.rows)
    return Table(
        tuple(columns), collection.rows, cells, by_key, baseline, tuple(notes), tuple(missing)
    )


def _usual_baseline(rows: Sequence[Row]) -> str | None:
    baselines = [row for row in rows if row.is_baseline]
    acoustic = [row for row in baselines if row.kind == "fbank"]
    return next((row.label for row in [*acoustic, *baselines] if len(rows) > 1), None)


def _variants(rows: Sequence[Row]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Give each set of conditions of a task a letter where there are several, and say so."""
    named: dict[tuple[str, str], str] = {}
    apart: dict[str, list[str]] = {}  # how the ways differ -> tasks
    for task in in_order(r.task for row in rows for m in row.members for r in m.results):
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            for member in row.members:
                for result in member.results:
                    if result.task == task:
                        found.setdefault(key_of(result), conditions(result))
        for index, key in enumerate(found):
            named[task, key] = chr(ord("A") + index) if len(found) > 1 else ""
        if len(found) > 1:
            apart.setdefault(_told_apart(list(found.values())), []).append(task_name(task))
    return named, [f"{', '.join(tasks)}: {told}" for told, tasks in apart.items()]


def _told_apart(found: Sequence[dict[str, Any]]) -> str:
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
        f"measured in {len(found)} ways that cannot be compared, so each has columns of its own "
        f"({told})"
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
        if isinstance(result, ProbedResult):
            chance = {**result.chance, **chance}
    return [
        Column(task, name, variant, name == leading, chance.get(name))
        for name in names
        if metric_info(name).shown
    ]


def _heard_before(rows: Sequence[Row]) -> list[str]:
    """Say whose encoder was pre-trained on recordings that it is tested on."""
    return [
        f"{member.upstream.name}, {task_name(result.task)}: {result.overlap.words}; the score is "
        "not of unheard speech"
        for row in rows
        for member in row.members
        for result in member.results
        if result.overlap is not None and result.overlap.seen
    ]


def _unknown_overlap(rows: Sequence[Row]) -> list[str]:
    """Say of which encoders it is not known."""
    names = [
        member.upstream.name
        for row in rows
        for member in row.members
        if member.upstream.kind not in UNTRAINED
        and any(r.overlap is None or not r.overlap.by for r in member.results)
    ]
    return (
        [
            f"unknown whether test recordings were pre-trained on by {', '.join(names)}: the "
            "checkpoint does not say, or the result is of an earlier version"
        ]
        if names
        else []
    )
