"""Build the report: results in, three files out, each written in one step.

What `mgf report` calls; everything else in this package serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..data.replacing import replace_file
from .collect import collect
from .page import make_page
from .table import Table, make_table
from .texts import machine_readable, markdown

TITLE = "Speech representations, four ways"


def build_report(
    sources: Sequence[Path],
    dest: Path,
    baseline: str | None = None,
    title: str = TITLE,
    tell: Callable[[str], None] = lambda section: None,
) -> Table:
    """Write index.html, results.md and results.json into `dest`; `tell` hears the sections.

    Raises:
        ResultError: a source holds no results, a file is corrupt, or no row is the baseline.
    """
    table = make_table(collect(sources), baseline)
    contents = {
        "results.md": markdown(table, title),
        "results.json": machine_readable(table, title),
        "index.html": make_page(table, title, tell),
    }
    for name, content in contents.items():
        with replace_file(dest / name) as stream:
            stream.write(content)
    return table
