"""What a reader of any number on a prepared folder must know: one sentence per line of a file.

`mgf prepare` writes it beside the manifests; the evaluations copy it into their result files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..utils.atomic import replace_file

CAVEATS_FILE = "caveats.txt"


def write_caveats(folder: Path, caveats: Sequence[str]) -> None:
    """Write the sentences; no file where there are none."""
    if not caveats:
        return
    with replace_file(folder / CAVEATS_FILE) as stream:
        stream.writelines(f"{' '.join(caveat.split())}\n" for caveat in caveats)


def read_caveats(folder: Path) -> list[str]:
    """The sentences of a prepared folder; none where it has no such file."""
    path = folder / CAVEATS_FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.strip() for line in lines if line.strip()]
