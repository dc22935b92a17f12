"""The same table as Markdown, for a repository, and as JSON, for a program.

Beside the page; nothing is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..evaluation.results import ProbedResult
from .cells import Cell, Column
from .collect import Row
from .describing import caveats, what_it_is, why_not_the_top
from .figures.select import layer_means
from .findings import findings
from .protocol import overlap_words, sizes, words_of
from .table import Table

FORMAT = 1


def markdown(table: Table, title: str) -> str:
    """Write the tables with what must be said beside them."""
    parts = [f"# {title}", *(f"> **Note:** {_escape(note)}" for note in table.notes)]
    parts.append("\n".join(f"- {_escape(text)}" for text in findings(table)))
    parts += ["## Scores", _scores(table), _HOW_TO_READ.format(units=table.units)]
    parts.append(
        "\n".join(f"- **{_escape(row.label)}**: {_escape(what_it_is(row))}" for row in table.rows)
    )
    parts += [f"> **About the data:** {_escape(text)}" for text in caveats(table)]
    for column in table.columns:
        if column.leading and (layers := _layers(table, column)):
            parts += [f"## {_escape(column.title)}, layer by layer", layers]
            if why := why_not_the_top(table, column):
                parts.append(_escape(why))
    parts += ["## How it was measured", *_protocols(table)]
    if table.missing:
        parts += ["## Missing", "\n".join(f"- {_escape(text)}" for text in table.missing)]
    return "\n\n".join(parts) + "\n"


_HOW_TO_READ = (
    "Numbers are {units}; mean \u00b1 standard deviation over seeds (in brackets: how many, of "
    "what). Below: the difference in points to the row that all are compared with, in brackets its "
    "95 % interval (paired: both rows on the same draws); the 95 % bootstrap interval of each "
    "task's leading metric, and what it was read from. The last line says what the intervals are "
    "drawn over. Bold: best of the column. Layers are chosen on valid."
)


def _scores(table: Table) -> str:
    head = ["representation", *(c.title for c in table.columns)]
    lines = [_line(head), "|---" * len(head) + "|"]
    for name, baseline in (("MGF", False), ("baselines", True)):
        rows = [row for row in table.rows if row.is_baseline == baseline]
        if rows:
            lines.append(_line([f"*{name}*", *("" for _ in table.columns)], escaped=True))
        for row in rows:
            cells = [_cell(table.cells.get((row.label, c)), table.baseline) for c in table.columns]
            lines.append(_line([_escape(row.label), *cells], escaped=True))
    chance = ["" if c.chance is None else f"{c.chance:.1f}" for c in table.columns]
    lines.append(_line([f"*chance ({table.chance_words})*", *chance], escaped=True))
    over = [_escape(table.drawn_over(c)) if c.leading else "" for c in table.columns]
    lines.append(_line(["*intervals drawn over*", *over], escaped=True))
    return "\n".join(lines)


def _cell(cell: Cell | None, baseline: str | None) -> str:
    if cell is None:
        return "not measured"
    text = f"**{cell.mean:.1f}**" if cell.best else f"{cell.mean:.1f}"
    if cell.spread is not None:
        text += f" \u00b1 {cell.spread:.1f}"
    text += f" ({cell.count} {cell.over if cell.count > 1 else cell.over.removesuffix('s')})"
    if cell.difference is not None and baseline is not None:
        text += f"<br>{round(cell.difference, 1) + 0.0:+.1f} vs {_escape(baseline)}"
        if cell.difference_low is not None:
            text += f" ({cell.difference_low:+.1f} to {cell.difference_high:+.1f})"
    if cell.low is not None:
        text += f"<br>{cell.low:.1f} to {cell.high:.1f}; {_escape(cell.representation)}"
    return text + (f"<br>only {_escape(cell.note)}" if cell.note else "")


def _layers(table: Table, column: Column) -> str:
    """Write one table of layers per task: the scores of a row's members, averaged."""
    rows = []
    for row in table.rows:
        means = layers_of(table, row, column)
        if means:
            rows.append((row.label, means))
    names = list(dict.fromkeys(name for _, means in rows for name in means))
    if not rows:
        return ""
    lines = [_line(["representation", *names]), "|---" * (1 + len(names)) + "|"]
    for label, means in rows:
        values = [f"{means[name]:.1f}" if name in means else "" for name in names]
        lines.append(_line([label, *values]))
    return "\n".join(lines)


def layers_of(table: Table, row: Row, column: Column) -> dict[str, float]:
    """Return representation -> mean over probe seeds and members, on test."""
    results = table.results.get((row.label, column.task, column.variant), [])
    found: dict[str, list[float]] = {}
    for result in results:
        if isinstance(result, ProbedResult):
            for pooling in dict.fromkeys(r.pooling for r in result.representations):
                for layer, mean in layer_means(result, column.metric, pooling).items():
                    name = f"{layer}, {pooling}" if pooling else layer
                    found.setdefault(name, []).append(mean)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _protocols(table: Table) -> list[str]:
    parts = []
    for task in table.tasks:
        for column in table.variants(task):
            first = next(
                results[0]
                for (_, t, variant), results in table.results.items()
                if (t, variant) == (task, column.variant)
            )
            parts.append(
                f"**{_escape(column.task_title)}**: {words_of(task)} Data: {_escape(sizes(first))}."
            )
    lines = [_line(["name", "seed", "updates", "audio, h", "task", "command", "commit", "hardware",
                    "date", "s", "test and pre-training"]), "|---" * 11 + "|"]  # fmt: skip
    for row in table.rows:
        for member in row.members:
            u = member.upstream
            for r in member.results:
                hours = "" if u.audio_hours is None else f"{u.audio_hours:.2f}"
                about = [u.name, _given(u.seed), _given(u.num_updates), hours]
                where = [r.task, r.command, r.commit, r.hardware, r.date, f"{r.seconds:.0f}"]
                where.append(overlap_words(u, r))
                lines.append(_line([*about, *where]))
    return [*parts, "\n".join(lines)]


def _given(value: int | None) -> str:
    return "" if value is None else str(value)


def _line(cells: Sequence[str], escaped: bool = False) -> str:
    return f"| {' | '.join(cells if escaped else map(_escape, cells))} |"


def _escape(text: str) -> str:
    """Keep text from files from becoming markup or breaking a table."""
    text = " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
    for mark in "\\|*_`[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def machine_readable(table: Table, title: str) -> str:
    """Write everything that the tables show as JSON."""
    content = {
        "format": FORMAT,
        "title": title,
        "baseline": table.baseline,
        "notes": list(table.notes),
        "missing": list(table.missing),
        "columns": [_column(table, column) for column in table.columns],
        "rows": [_row(table, row) for row in table.rows],
    }
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _column(table: Table, column: Column) -> dict[str, Any]:
    return {
        "task": column.task,
        "metric": column.metric,
        "variant": column.variant,
        "leading": column.leading,
        "lower_is_better": column.info.lower_is_better,
        "chance": column.chance,
        "intervals_over": table.drawn_over(column),
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    cells = []
    for index, column in enumerate(table.columns):
        cell = table.cells.get((row.label, column))
        if cell:
            layers = layers_of(table, row, column)
            cells.append({"column": index, **vars(cell), **({"layers": layers} if layers else {})})
    members = [
        {"name": m.upstream.name, "seed": m.upstream.seed, "fingerprint": m.upstream.fingerprint}
        for m in row.members
    ]
    return {
        "label": row.label,
        "kind": row.kind,
        "baseline": row.is_baseline,
        "members": members,
        "cells": cells,
    }
