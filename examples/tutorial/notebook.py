"""Write the tutorial as a notebook, tutorial.ipynb, from its page.

    python examples/tutorial/notebook.py         writes the file; a test compares it with the page

Prose becomes text cells, and each command block a code cell that runs its lines in the shell. The
block of text right after it, which is what the commands printed, becomes the output of the cell.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent / "README.md"
NOTEBOOK = PAGE.with_name("tutorial.ipynb")
START = """\
# The commands below run in the root of a checkout, with the environment of examples/setup_env.sh.
import os, pathlib, sys

os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
while not pathlib.Path("examples/tutorial").is_dir() and pathlib.Path.cwd() != pathlib.Path("/"):
    os.chdir("..")"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cell(number: int, kind: str, text: str, output: str = "") -> dict[str, Any]:
    """A cell in the format of notebooks, version 4.5."""
    made: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
    if kind == "code":
        lines = output.splitlines(keepends=True)
        shown = [{"name": "stdout", "output_type": "stream", "text": lines}] if output else []
        made |= {"execution_count": None, "outputs": shown}
    return made | {"source": text.splitlines(keepends=True)}


def notebook(page: str) -> dict[str, Any]:
    """The whole notebook of a page."""
    cells = [("code", START, "")]
    block = r"^```\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?"
    parts = re.split(block, page, flags=re.S | re.M)  # prose, commands, output, prose, ...
    rest = zip([*parts[1::3], ""], [*parts[2::3], ""], strict=True)
    for prose, (commands, output) in zip(parts[::3], rest, strict=True):
        if prose.strip():
            cells.append(("markdown", prose.strip(), ""))
        if commands:
            lines = "\n".join(f"!{line}" for line in commands.splitlines())
            cells.append(("code", lines, output or ""))
    made = [cell(number, *contents) for number, contents in enumerate(cells)]
    return {"cells": made, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    text = json.dumps(notebook(PAGE.read_text("utf-8")), indent=1, ensure_ascii=False)
    NOTEBOOK.write_text(text + "\n", encoding="utf-8")
    print(f"{NOTEBOOK}: written", file=sys.stderr)
