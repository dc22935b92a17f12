"""The table in sentences: who leads which task, by how much, and whether that may be chance.

Stands at the top of the page and of the Markdown.
"""

from __future__ import annotations

from .table import Cell, Table


def findings(table: Table) -> list[str]:
    """Say in one sentence per task which row leads, and by how much over the best other kind."""
    told = []
    for column in (column for column in table.columns if column.leading):
        ranked = sorted(
            ((row, cell) for row in table.rows if (cell := table.cells.get((row.label, column)))),
            key=lambda pair: pair[1].mean,
            reverse=not column.info.lower_is_better,
        )
        (first, cell), *rest = ranked
        leads = "leads with" if rest else "alone was measured:"
        text = f"{column.title}: {first.label} {leads} {cell.mean:.1f} %"
        other = next((p for p in rest if p[0].is_baseline != first.is_baseline), None)
        if other:
            row, theirs = other
            gap = abs(cell.mean - theirs.mean)
            kind = "the best baseline" if row.is_baseline else "the best MGF row"
            leader = f"{first.label}{' (a baseline)' if first.is_baseline else ''}"
            text = (
                f"{column.title}: {leader} leads with "
                f"{cell.mean:.1f} %, {gap:.1f} points ahead of {row.label}, {kind} "
                f"({theirs.mean:.1f} %); their 95 % intervals {_overlap(cell, theirs)}"
            )
        told.append(text)
    return told


def _overlap(one: Cell, other: Cell) -> str:
    assert one.low is not None and one.high is not None  # leading metrics have intervals
    assert other.low is not None and other.high is not None
    apart = one.low > other.high or other.low > one.high
    return "do not overlap" if apart else "overlap: it may be chance"
