"""Write the files of a prepared folder as one set: they appear together, or the record says so.

`mgf prepare` and `mgf shard` write into a folder of their own first and move the files in at the
end. Readers see the record through data/prepared.py.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ..data.prepared import RECORD, Record, file_digest, read_record
from ..utils.atomic import replace_file

_STAGING = ".preparing"


class BusyError(ValueError):
    """Another process is preparing the same folder."""


@contextmanager
def staging(dest: Path) -> Iterator[Path]:
    """An empty folder inside `dest` for the files of a new set; removed at the end.

    One process at a time holds it; a killed process releases it. Raises BusyError for a second one.
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
    """Move the staged files into `dest` and remove files of an earlier set that are not replaced.

    Returns the names of the removed files, and of those kept because they were edited since. While
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
