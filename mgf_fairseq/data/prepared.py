"""The record of a prepared folder: which files were written together, and for which rows.

`mgf prepare` writes it (prepare/publishing.py). With it, readers of manifests refuse a set that was
moved only in part, and `mgf check` finds labels of other rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .entries import ManifestError

RECORD = ".prepared.json"


@dataclass(frozen=True)
class Record:
    """What a prepared folder holds; `files` and `replaced` map names to digests of contents."""

    files: dict[str, str]
    rows: dict[str, str] = field(default_factory=dict)  # split -> `rows_digest` of its manifest
    classes: list[str] = field(default_factory=list)  # label endings with one class per row
    finished: bool = True
    replaced: dict[str, str] = field(default_factory=dict)  # of the earlier set, to be removed


def read_record(folder: Path) -> Record | None:
    """The record of a folder; None if it has none, or an unreadable one."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Record(**found)
    except (OSError, ValueError, TypeError):
        return None


def require_finished(folder: Path) -> None:
    """Raise ManifestError if a preparation was stopped while it moved its files in."""
    record = read_record(folder)
    if record is not None and not record.finished:
        raise ManifestError(
            f"{folder}: `mgf prepare` was stopped while it replaced the files there, so manifests "
            "and labels may not belong together: run it again"
        )


def rows_digest(names: Iterable[str], counts: Iterable[int]) -> str:
    """Digest of the rows of a manifest, in order; the same after files are moved or converted."""
    whole = hashlib.sha256()
    for name, count in zip(names, counts, strict=True):
        stem = os.path.splitext(os.path.basename(name))[0]
        whole.update(f"{stem}\t{count}\n".encode())
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's content; empty if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
