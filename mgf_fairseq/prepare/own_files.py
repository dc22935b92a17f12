"""Which files of a prepared folder a command may replace: those that mgf wrote.

The record of the folder (data/prepared.py) lists them; without one, their names decide.
"""

from __future__ import annotations

from pathlib import Path

from ..data.caveats import CAVEATS_FILE
from ..data.manifest import looks_like_manifest
from ..data.prepared import Record, read_record
from ..utils.atomic import begins_with

SKIPPED_FILE = "skipped.txt"
SKIPPED_HEAD = "path\treason\n"


def is_ours(path: Path, record: Record | None) -> bool:
    """Whether an earlier `mgf prepare` or `mgf shard` wrote a file of a prepared folder.

    A .tsv must be a manifest, whatever the record says: a corpus may have tables of that name.
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
    """The manifests of a folder, without other tables.

    A corpus that is prepared into its own folder has metadata.tsv beside them.
    """
    record = read_record(folder)
    return [
        path
        for path in sorted(folder.glob("*.tsv"))
        if record is None or path.name in record.files or looks_like_manifest(path)
    ]
