"""The table of tasks x representations as HTML.

One part of the page; table.py has computed the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..cells import Cell, Column
from ..collect import Row
from ..describing import caveats
from ..table import Table
from .html import Html, element, join


def scores_table(table: Table) -> Html:
    """Make the table: MGF rows, baselines apart, chance last."""
    ours = [row for row in table.rows if not row.is_baseline]
    theirs = [row for row in table.rows if row.is_baseline]
    width = str(2 + len(table.columns))
    body: list[str] = []
    for name, rows in (("MGF", ours), ("baselines", theirs)):
        if rows:
            band = element("th", name, colspan=width, scope="rowgroup")
            body.append(element("tr", band, class_="band"))
            body += [_row(table, row) for row in rows]
    body += [_chance(table), _drawn_over(table)]
    whole = element("table", _head(table.columns), element("tbody", *body), class_="scores")
    return element("div", whole, class_="scroll", tabindex="0")


def _head(columns: Sequence[Column]) -> Html:
    """Make two lines of headings: tasks over metrics."""
    tasks = dict.fromkeys(column.task_title for column in columns)
    over = [
        element(
            "th",
            task,
            colspan=str(sum(column.task_title == task for column in columns)),
            scope="colgroup",
        )
        for task in tasks
    ]
    metrics = [
        element(
            "th",
            column.info.title,
            element("small", f"{'lower' if column.info.lower_is_better else 'higher'} is better"),
            scope="col",
        )
        for column in columns
    ]
    first = [
        element("th", name, rowspan="2", scope="col") for name in ("representation", "trained")
    ]
    return element("thead", element("tr", *first, *over), element("tr", *metrics))


def _row(table: Table, row: Row) -> Html:
    kind = [] if row.kind in row.label else [element("small", row.kind)]
    name = element("th", row.label, *kind, scope="row")
    cells = [_cell(table.cells.get((row.label, column)), column) for column in table.columns]
    return element("tr", name, element("td", *training_effort(row), data_label="trained"), *cells)


def training_effort(row: Row) -> list[Html]:
    """Say in small print how much a row was trained."""
    upstreams = [member.upstream for member in row.members]
    parts = []
    if upstreams[0].num_updates:
        parts.append(f"{upstreams[0].num_updates:,} updates")
    if row.audio:
        parts.append(f"{row.audio_in_words} of audio")
    seeds = [str(u.seed) for u in upstreams if u.seed is not None]
    if seeds:
        parts.append(f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}")
    return [element("small", part) for part in parts or ["not trained"]]


def _cell(cell: Cell | None, column: Column) -> Html:
    if cell is None:
        return element("td", "\u2013", element("small", "not measured"), class_="absent")
    inside: list[str] = [element("b", f"{cell.mean:.1f}")]
    if cell.spread is not None:
        inside.append(f" \u00b1 {cell.spread:.1f}")
    if cell.difference is not None:
        inside.append(_difference(cell, column.info.lower_is_better))
    if cell.low is not None and cell.high is not None:
        inside.append(element("small", f"95 %: {cell.low:.1f} to {cell.high:.1f}"))
    if column.leading:
        inside.append(element("small", cell.representation))
    what = cell.over if cell.count > 1 else cell.over.removesuffix("s")
    inside.append(element("small", f"{cell.count} {what}"))
    if cell.note:
        inside.append(element("small", f"only {cell.note}"))
    if len(cell.single) > 1:
        inside.append(element("small", " ".join(f"{value:.1f}" for value in cell.single.values())))
    best = {"class_": "best"} if cell.best else {}
    return element("td", *inside, data_label=column.title, **best)


def _difference(cell: Cell, lower_is_better: bool) -> Html:
    """The difference to the row compared with, and its paired interval."""
    assert cell.difference is not None
    low, high = cell.difference_low, cell.difference_high
    known = low is not None and high is not None
    between = f" ({low:+.1f} to {high:+.1f})" if known else ""
    better = cell.difference < 0 if lower_is_better else cell.difference > 0
    if abs(cell.difference) < 0.05:
        return element("small", f"\u00b1 0.0{between}")
    if known and not (low > 0 or high < 0):  # type: ignore[operator]
        return element("small", f"{cell.difference:+.1f}{between} not shown to differ")
    word, arrow = ("better", "\u25b2") if better else ("worse", "\u25bc")
    return element("small", f"{arrow} {cell.difference:+.1f}{between} {word}", class_=word)


def _chance(table: Table) -> Html:
    """Make the last line: what needs no representation at all."""
    name = element("th", "chance", element("small", table.chance_words), scope="row")
    cells = [
        element(
            "td",
            "\u2013" if column.chance is None else f"{column.chance:.1f}",
            data_label=column.title,
        )
        for column in table.columns
    ]
    return element("tr", name, element("td", ""), *cells)


def _drawn_over(table: Table) -> Html:
    """Make the line that says what the intervals of each task are drawn over."""
    name = element("th", "intervals", element("small", "drawn over"), scope="row")
    cells = [
        element(
            "td",
            element("small", table.drawn_over(column) if column.leading else ""),
            data_label=column.title,
        )
        for column in table.columns
    ]
    return element("tr", name, element("td", ""), *cells)


def reading_help(table: Table) -> Html:
    """Say how to read the table, in small print."""
    text = (
        f"All numbers are {table.units}. "
        "Mean \u00b1 standard deviation over the seeds named in the cell; "
        "a row with several pre-training seeds is the mean of their means. 95 %: bootstrap "
        "interval over what the last line says, averaged over pre-training seeds. Below it: what "
        "the score was read from, chosen on the valid split. \u2605: best of the column. Last "
        "line of a cell: each seed by itself."
    )
    if table.baseline:
        text += (
            f" \u25b2 \u25bc: difference in points to {table.baseline}, with its 95 % interval in "
            "brackets where both rows were paired utterance by utterance; without an arrow it "
            "includes 0."
        )
    remarks = [
        element("p", element("small", f"About the data: {text}.")) for text in caveats(table)
    ]
    return join([element("p", element("small", text)), *remarks])
