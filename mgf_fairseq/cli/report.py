"""`mgf report`: one page, one Markdown table and one JSON file from folders of results.

Last verb of the flow; the package report does the work, this file prints.
"""

from __future__ import annotations

import argparse
import logging
from importlib import util
from pathlib import Path

HELP = "a self-contained page with the tables and pictures of one or many evaluations"
EXAMPLES = """\
examples:
  mgf report results --dest report
  mgf report results ../earlier/results --dest report --against wav2vec2

Writes index.html (pictures and sound inside: copy it anywhere), results.md and results.json.
Needs matplotlib and scikit-learn: pip install '.[report]'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf report`."""
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="folder that `mgf evaluate` wrote"
    )
    parser.add_argument("--dest", type=Path, required=True, help="folder to write the report to")
    parser.add_argument(
        "--against",
        "--baseline",
        dest="against",
        metavar="ROW",
        help="the row that all are compared with, by paired differences (default: log-mel, or "
        "another row that is no MGF model)",
    )
    parser.add_argument("--title", help="heading of the page (default: by its tasks)")


def run(args: argparse.Namespace) -> int:
    """Build the report, print where it is and what is missing, and return 0."""
    missing = [name for name in ("matplotlib", "sklearn") if util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"the report draws with {' and '.join(missing)}, which is not installed: "
            "pip install '.[report]'"
        )
    # Importing fairseq sets the root logger to DEBUG, and matplotlib writes hundreds of lines then.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from ..report.build import build_report
    from ..report.findings import findings
    from ..utils.progress import bar

    with bar(bar_format="{desc} {elapsed}", leave=False) as shown:
        table = build_report(
            args.results,
            args.dest,
            args.against,
            args.title,
            lambda section: shown.set_description_str(f"drawing: {section}"),
        )
    for note in table.notes:
        print(f"note: {note}")
    for text in table.missing:
        print(f"missing: {text}")
    for text in findings(table):
        print(text)
    page = args.dest / "index.html"
    args.result = {
        "page": page,
        "missing": table.missing,
        "notes": table.notes,
        "findings": findings(table),
    }
    print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB), results.md, results.json")
    return 0
