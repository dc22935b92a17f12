"""What a preparation has written, as one set: its files appear together, or the folder says so.

`mgf prepare` makes its files apart and moves them in at the end. The record beside them tells
readers of manifests of a set that was only half moved, and `mgf check` of labels of other rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..utils.atomic import replace_file
from .entries import ManifestError

RECORD = ".prepared.json"
_STAGING = ".preparing"


class BusyError(ValueError):
    """Another process is preparing the same folder."""


@dataclass(frozen=True)
class Record:
    """What lies in a prepared folder; `files` and `replaced` map names to digests of contents."""

    files: dict[str, str]
    rows: dict[str, str] = field(default_factory=dict)  # split -> `rows_digest` of its manifest
    classes: list[str] = field(default_factory=list)  # label endings with one class per row
    finished: bool = True
    replaced: dict[str, str] = field(default_factory=dict)  # of the earlier set, to be removed


def read_record(folder: Path) -> Record | None:
    """The record of a folder; None where it has none that can be read."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Record(**found)
    except (OSError, ValueError, TypeError):
        return None


def require_finished(folder: Path) -> None:
    """Raise ManifestError where a preparation was stopped while its files were moved in."""
    record = read_record(folder)
    if record is not None and not record.finished:
        raise ManifestError(
            f"{folder}: `mgf prepare` was stopped while it replaced the files there, so manifests "
            "and labels may not belong together: run it again"
        )


def rows_digest(names: Iterable[str], counts: Iterable[int]) -> str:
    """Digest of what rows a manifest has, in their order; moved or converted files keep it."""
    whole = hashlib.sha256()
    for name, count in zip(names, counts, strict=True):
        stem = os.path.splitext(os.path.basename(name))[0]
        whole.update(f"{stem}\t{count}\n".encode())
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's content; empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


@contextmanager
def staging(dest: Path) -> Iterator[Path]:
    """An empty folder inside `dest` for the files of a new set; it is gone afterwards.

    One process at a time has it, and a killed one lets it go. Raises BusyError for a second one.
    """
    folder = dest / _STAGING
    existed = dest.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(handle), folder.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise BusyError(f"another command is writing into {dest}: wait for it to end")
        for path in folder.iterdir():  # of a killed run
            path.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if not existed and not any(dest.iterdir()):
                dest.rmdir()
    finally:
        os.close(handle)


def publish(
    staged: Path, dest: Path, rows: dict[str, str], classes: list[str]
) -> tuple[list[str], list[str]]:
    """Move the staged files into `dest` and remove those of an earlier set that have no successor.

    Returns the names of the removed ones, and of those that were changed since and are kept. While
    files are moved the record says so, and `require_finished` refuses the folder.
    """
    files = {path.name: file_digest(path) for path in sorted(staged.iterdir())}
    earlier = read_record(dest)
    known = {**earlier.replaced, **earlier.files} if earlier else {}
    replaced = {name: digest for name, digest in known.items() if name not in files}
    _write(dest, Record(files, rows, classes, False, replaced))
    for name in files:
        os.replace(staged / name, dest / name)
    there = [name for name in replaced if (dest / name).is_file()]
    removed = [name for name in there if file_digest(dest / name) == replaced[name]]
    for name in removed:
        (dest / name).unlink()
    _write(dest, Record(files, rows, classes))
    return removed, [name for name in there if name not in removed]


def _write(dest: Path, record: Record) -> None:
    with replace_file(dest / RECORD) as stream:
        json.dump(asdict(record), stream, ensure_ascii=False, indent=1)
        stream.write("\n")
