"""Build the report: results in, three files out, each written in one step.

What `mgf report` calls; everything else in this package serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..utils.atomic import begins_with, refuse_foreign, replace_file
from .collect import collect
from .describing import usual_title
from .markdown import machine_readable, markdown
from .page.page import make_page
from .table import Table, make_table

NAMES = ("results.json", "results.md", "index.html")


def build_report(
    sources: Sequence[Path],
    dest: Path,
    baseline: str | None = None,
    title: str | None = None,
    say: Callable[[str], None] = lambda section: None,
) -> Table:
    """Write index.html, results.md and results.json into `dest`; `say` gets each section.

    Without a title, the page is named by its tasks.

    Raises:
        ResultError: a source holds no results, a file is corrupt, or no row is the baseline.
        ForeignFileError: `dest` holds a file of such a name that is no report's.
    """
    is_report = begins_with('{\n "format": ')
    refuse_foreign((dest / name for name in NAMES), lambda path: is_report(dest / NAMES[0]))
    table = make_table(collect(sources), baseline)
    title = title or usual_title(table)
    contents = (
        machine_readable(table, title),
        markdown(table, title),
        make_page(table, title, say),
    )
    for name, content in zip(NAMES, contents, strict=True):
        with replace_file(dest / name) as stream:
            stream.write(content)
    return table
