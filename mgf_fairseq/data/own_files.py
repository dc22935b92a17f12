"""Which files of a prepared folder a command may replace: those that one of ours wrote.

Beside `prepared.py`, whose record says so; folders without one are judged by their looks.
"""

from __future__ import annotations

from pathlib import Path

from ..utils.atomic import begins_with
from .caveats import CAVEATS_FILE
from .manifest import looks_like_manifest
from .prepared import Record, read_record

SKIPPED_FILE = "skipped.txt"
SKIPPED_HEAD = "path\treason\n"


def is_ours(path: Path, record: Record | None) -> bool:
    """Whether an earlier `mgf prepare` or `mgf shard` wrote a file of a prepared folder.

    A .tsv must be a manifest, whatever the record says: a corpus's own tables are called so too.
    """
    if path.suffix == ".tsv":
        return looks_like_manifest(path)
    if record is not None and (path.name in record.files or path.name in record.replaced):
        return True
    if path.name == SKIPPED_FILE:
        return begins_with(SKIPPED_HEAD)(path)
    shared = path.name.startswith("dict.") or path.name in ("spm.model", CAVEATS_FILE)
    manifests = path.parent.glob("*.tsv") if shared else [path.with_suffix(".tsv")]
    return record is None and any(map(looks_like_manifest, manifests))


def manifests_in(folder: Path) -> list[Path]:
    """The .tsv files of a folder but for tables that its record says nothing of.

    Whoever prepares a corpus into its own folder has metadata.tsv beside the manifests.
    """
    record = read_record(folder)
    return [
        path
        for path in sorted(folder.glob("*.tsv"))
        if record is None or path.name in record.files or looks_like_manifest(path)
    ]
