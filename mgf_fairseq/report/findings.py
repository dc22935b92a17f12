"""The table in sentences: who leads which task, by how much, and what a paired test says of it.

Shown at the top of the page and of the Markdown.
"""

from __future__ import annotations

from .cells import Cell, Column
from .collect import Row
from .paired import Paired
from .table import Table


def findings(table: Table) -> list[str]:
    """Say in one sentence per task which row leads, and by how much over the best other."""
    told = []
    for column in (column for column in table.columns if column.leading):
        ranked = sorted(
            ((row, cell) for row in table.rows if (cell := table.cells.get((row.label, column)))),
            key=lambda pair: pair[1].mean,
            reverse=not column.info.lower_is_better,
        )
        (first, cell), *rest = ranked
        title = f"{column.heading}, {column.info.title}"
        unit, differences = column.info.unit, column.info.differences
        text = f"{title}: only {first.label} was measured: {cell.mean:.1f} {unit}."
        others = (pair for pair in rest if pair[0].is_baseline != first.is_baseline)
        other = next(others, rest[0] if rest else None)
        if other:
            row, theirs = other
            gap = abs(cell.mean - theirs.mean)
            kind = "the best baseline" if row.is_baseline else "the best MGF row"
            kind = kind if row.is_baseline != first.is_baseline else "the next row"
            leader = f"{first.label}{' (a baseline)' if first.is_baseline else ''}"
            text = (
                f"{title}: {leader} leads with "
                f"{cell.mean:.1f} {unit}, {gap:.1f} {differences} ahead of {row.label}, {kind} "
                f"({theirs.mean:.1f} {unit})."
            )
            text += _tested(table.compare(first.label, row.label, column), column)
            text += _seeds(first, cell, differences) + _seeds(row, theirs, differences)
        told.append(text)
    return told


def _tested(paired: Paired | None, column: Column) -> str:
    """What the paired comparison says of a lead."""
    if paired is None:
        return (
            " The lead is not tested, because results of earlier versions hold no counts per "
            "utterance."
        )
    low, high = paired.low, paired.high
    if column.info.lower_is_better:
        low, high = -high, -low
    zero = " That includes 0, so it may be no lead."
    return (
        f" Paired over {paired.over}, the lead is {low:.1f} to {high:.1f} "
        f"{column.info.differences} (95 %).{'' if paired.leaves_zero else zero}"
    )


def _seeds(row: Row, cell: Cell, differences: str) -> str:
    """How far a row's pre-training seeds are apart, which a lead should exceed as well."""
    if cell.over != "pre-training seeds" or cell.count < 2:
        return ""
    apart = max(cell.single.values()) - min(cell.single.values())
    seeds = f"The {cell.count} pre-training seeds of {row.label}"
    return f" {seeds} are {apart:.1f} {differences} apart."
