"""Which column of a table says what: the names that people use, and those given with --columns.

Between the rows of `table_rows.py` and the layouts that are tables.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...data.entries import within_root
from .base import PrepareError, Search, Utterance, has_extension, speaker_of, stem_of
from .table_rows import TableRow

# What is known of an utterance -> the names of its column, the first that is there counts.
# fmt: off
ROLES: dict[str, tuple[str, ...]] = {
    "utt": ("utt", "utt_id", "utterance", "utterance_id", "id"),
    "path": (
        "path", "file_name", "filename", "file", "file_path", "filepath",
        "audio", "audio_path", "audio_file", "audio_filepath", "wav", "wav_path",
    ),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "emotion": ("emotion", "emo"),
    "split": ("split",),
    "fold": ("fold", "session"),
    "start": ("start",),
    "end": ("end",),
}
# fmt: on
_SPLITS = {"dev": "valid", "val": "valid", "validation": "valid"}


def split_called(name: str) -> str:
    """Our name of a split that others call dev or validation."""
    return _SPLITS.get(name.lower(), name)


def find_columns(table: Path, names: Sequence[str], search: Search) -> dict[str, str]:
    """The column of each role and of each label that is asked for (by its ending).

    Raises PrepareError where there is none for the path, or one that was named is not there.
    """
    if not names:
        raise PrepareError(f"{table} is empty: its first line must name the columns")
    unknown = [role for role in search.columns if role not in ROLES]
    if unknown:
        raise PrepareError(
            f"--columns {unknown[0]}=...: choose from {', '.join(ROLES)}; --label makes labels of "
            "other columns"
        )
    by_name = {name.lower(): name for name in reversed(names)}
    found = {
        role: next(by_name[each] for each in usual if each in by_name)
        for role, usual in ROLES.items()
        if any(each in by_name for each in usual)
    }
    found.update(search.columns)
    for ending, column in search.labels.items():
        found[ending] = column if column in names else found.get(column, column)
    shown = ", ".join(names)[:200]
    for role, column in found.items():
        if column not in names:
            raise PrepareError(f"{table} has no column {column!r} for {role} (found: {shown})")
    if "path" not in found:
        raise PrepareError(
            f"{table} has no column path, and none of another usual name for it (found: {shown}): "
            "name it, as in --columns path=NAME,text=NAME; --corpus folder reads the audio alone"
        )
    return found


def unread_columns(names: Iterable[str], found: Mapping[str, str]) -> list[str]:
    """A note on the columns that nothing is made of; empty where there are none."""
    others = [name for name in names if name and name not in found.values()]
    if not others:
        return []
    return [f"columns not read: {', '.join(others)[:200]} (--label NAME makes labels of one)"]


def read_row(
    row: TableRow, columns: Mapping[str, str], search: Search, folder: str = ""
) -> Utterance | str | None:
    """A row as an utterance, or why it is none; None where --path-must-contain excludes it.

    Paths are below the corpus's root, or in `folder` there.
    """
    if row.problem:
        return row.problem
    cell = {role: row.cells.get(name, "").strip() for role, name in columns.items()}
    path = _path(cell["path"], folder)
    if path is None:
        return f"its path {cell['path'][:80]!r} leaves the folder: write the absolute path"
    if not path or "\0" in path:
        return "its path is empty" if not path else "its path holds a NUL byte"
    if search.path_must_contain and search.path_must_contain not in path:
        return None
    if not has_extension(path, search.extensions):
        return f"{cell['path'][:80]!r} does not end in an extension of audio (--ext)"
    if "utt" in columns and not cell["utt"]:
        return "its utt is empty"
    stretch = _stretch(cell.get("start", ""), cell.get("end", ""))
    if isinstance(stretch, str):
        return stretch
    level = search.speaker_level
    return Utterance(
        cell.get("utt") or stem_of(path),
        path,
        speaker_of(path, level) if level is not None else cell.get("speaker") or None,
        " ".join(cell.get("text", "").split()) or None,
        cell.get("emotion") or None,
        cell.get("split") or None,
        cell.get("fold") or None,
        stretch,
        {ending: cell[ending] for ending in search.labels},
    )


def _path(text: str, folder: str) -> str | None:
    """The path of a cell below the root; None where it leaves the folder."""
    if not text or os.path.isabs(text):
        return text
    inside = within_root(text)
    return inside if inside is None else os.path.join(folder, inside)


def _stretch(first: str, last: str) -> tuple[float, float] | str | None:
    """The seconds that a row is of its recording, or why they are none."""
    if not first and not last:
        return None
    try:
        start, end = float(first), float(last)
    except ValueError:
        start, end = math.nan, math.nan
    if 0 <= start < end < math.inf:
        return start, end
    return (
        f"start {first[:40]!r} and end {last[:40]!r} must be seconds of the recording, "
        "0 <= start < end"
    )
