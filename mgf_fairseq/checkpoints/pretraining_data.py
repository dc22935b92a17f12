"""Which recordings an encoder was pre-trained on: short marks inside its checkpoint.

The task makes them from its training manifests; evaluations look their test recordings up, so that
a score on speech that the encoder has heard says so.

A mark is 8 bytes of a hash. Of up to ``CONTENT_UP_TO`` recordings it is of the file's size and its
first 16 KiB, so that copies under other names count. Opening more would take too long: then it is
of the last three parts of the path. At most ``MOST_MARKS`` are kept (8 MB), the smallest ones: only
test recordings whose own mark is as small can be looked up then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..data.entries import ManifestError, parse_entry
from ..data.mixture import Rows
from ..utils.threads import ordered_map
from .files import CheckpointError, peek_state
from .reading import SAFE_CLASSES

KEY = "pretraining_data"  # in a checkpoint's task_state
CONTENT, NAME = "content", "name"
CONTENT_UP_TO = 20_000
MOST_MARKS = 1_000_000
_HEAD = 1 << 14  # bytes
_THREADS = 4
Marks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """How many of some recordings an encoder was pre-trained on."""

    recordings: int
    looked_up: int  # the others could not be read, or are beyond the marks that are kept
    seen: int
    by: str


def recordings_of(rows: Rows) -> list[str]:
    """The recordings that rows are of, each once; a refused entry counts for nothing."""
    found: dict[str, None] = {}
    for row in range(len(rows)):
        try:
            found[os.path.normpath(parse_entry(rows.entry(row)).recording)] = None
        except (ManifestError, UnicodeDecodeError):
            continue
    return list(found)


def mark_all(recordings: Sequence[str], by: str) -> list[int | None]:
    """A mark for each recording; None where it cannot be read."""
    if by == NAME:
        return [_number("/".join(path.split(os.sep)[-3:]).encode()) for path in recordings]
    return list(ordered_map(_content_mark, recordings, _THREADS))


def _content_mark(recording: str) -> int | None:
    try:
        entry = parse_entry(recording)
        with open(entry.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if entry.member:
                stream.seek(entry.member.start)
                size = entry.member.length
            return _number(b"%d " % size + stream.read(min(_HEAD, size)))
    except (OSError, ValueError):
        return None


def _number(content: bytes) -> int:
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def note_training_data(state: dict[str, Any], rows: Rows) -> None:
    """Add a training set to a task's state; what an earlier run was trained on stays in it."""
    recordings = recordings_of(rows)
    by = CONTENT if len(recordings) <= CONTENT_UP_TO else NAME
    marks = [mark for mark in mark_all(recordings, by) if mark is not None]
    held = {**(state.get(KEY) or {})}
    known = held.get(by)
    before = known["marks"].numpy() if known else np.empty(0, np.int64)
    merged = np.union1d(before, np.array(marks, np.int64))
    complete = len(merged) <= MOST_MARKS and (known is None or known["complete"])
    held[by] = {"marks": torch.from_numpy(merged[:MOST_MARKS].copy()), "complete": complete}
    state[KEY] = held


def recall_training_data(task: Any, path: Path) -> None:
    """Take over what the checkpoint that a training begins from was trained on."""
    if getattr(task, "notes_training_data", False) and path.is_file():
        held = read_marks(path)
        if held:
            # Not mapped to the file, which the next save replaces.
            task.state.merge_state_dict(
                {KEY: {by: {**of, "marks": of["marks"].clone()} for by, of in held.items()}}
            )


def read_marks(path: Path) -> dict[str, Any] | None:
    """The marks inside a checkpoint; None where it has none or cannot be read."""
    try:
        held = (peek_state(path, SAFE_CLASSES).get("task_state") or {}).get(KEY)
        return held if held and all(map(_is_whole, held.values())) else None
    except (CheckpointError, AttributeError, TypeError, LookupError):
        return None


def _is_whole(of: dict[str, Any]) -> bool:
    marks = of["marks"]
    return bool(marks.dtype == torch.int64 and marks.dim() == 1 and of["complete"] in (True, False))


def look_up(held: dict[str, Any], recordings: Iterable[str]) -> Seen:
    """Count the recordings whose marks are among those of a checkpoint.

    A checkpoint that started from another one may hold both kinds; a recording counts by either.
    """
    names = list(recordings)
    known, seen = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for by, of in held.items():
        marks, found = of["marks"].numpy(), mark_all(names, by)
        readable = np.array([mark is not None for mark in found], bool)
        wanted = np.array([mark or 0 for mark in found], np.int64)
        at = np.searchsorted(marks, wanted)  # these are sorted; beyond the last one: their number
        inside = readable & (at < len(marks))
        known |= readable if of["complete"] else inside
        seen[inside] |= marks[at[inside]] == wanted[inside]
    return Seen(len(names), int(known.sum()), int(seen.sum()), " and ".join(sorted(held)))
