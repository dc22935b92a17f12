"""Read and write wav2vec manifests (.tsv).

First in the flow: `mgf prepare` writes them; the dataset, `mgf check` and stock fairseq read them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from ..utils.atomic import replace_file
from .entries import MOST_DIGITS, ManifestError, is_count, within_root
from .prepared import require_finished

_LOOKED_AT = 1 << 16  # bytes at the beginning of a file that may be a manifest
_BLOCK = 1 << 20  # bytes


class PathTable(Sequence[str]):
    """Paths kept as one bytes object and two offset arrays, so forked workers share the memory.

    A list of a million strings is copied page by page in every worker, because reading an element
    writes its reference count; here only the three containers carry one.
    """

    def __init__(
        self, blob: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> None:
        self._blob = blob
        self._starts = starts
        self._ends = ends

    @classmethod
    def from_strings(cls, paths: Iterable[str]) -> PathTable:
        """Pack any strings; `read_manifest` builds the table straight from the file instead."""
        encoded = [path.encode("utf-8") for path in paths]
        ends = np.cumsum([len(item) for item in encoded], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(encoded)]
        return cls(b"".join(encoded), starts, ends)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._blob[int(self._starts[index]) : int(self._ends[index])].decode("utf-8")


@dataclass(frozen=True)
class Manifest:
    """One split: where the files are, what they are called, how long they are."""

    root: Path
    paths: Sequence[str]
    num_samples: npt.NDArray[np.int64]  # (N,) at the rate the manifest was prepared for

    def __len__(self) -> int:
        return len(self.paths)

    def entry(self, index: int) -> str:
        """The entry of row `index` joined to the root; absolute entries stay as they are.

        Raises ManifestError where a relative entry climbs out of the root.
        """
        path = self.paths[index]
        if os.path.isabs(path):
            return path
        inside = within_root(path)
        if inside is None:
            raise ManifestError(
                f"line {index + 2} of the manifest ({path!r}) leaves the root {self.root}: "
                "write an absolute path there, or set the root on line 1 higher up"
            )
        return os.path.join(self.root, inside)

    def require_root(self) -> None:
        """Raise ManifestError where the root folder is gone, for instance after a move."""
        if not self.root.is_dir():
            raise ManifestError(
                f"the manifest's root folder {self.root} does not exist: if the audio has moved, "
                "correct line 1 of the .tsv or run `mgf prepare` again"
            )


def read_manifest(
    path: str | os.PathLike[str], progress: Callable[[], object] = lambda: None
) -> Manifest:
    """Read a wav2vec .tsv: line 1 is the root, each further line `path<TAB>num_samples`.

    `progress` is called after each block that was read.

    Raises ManifestError, naming file and line, for a missing or empty file, a file without rows,
    a line without exactly two columns, a count that is not a whole number, or what is no text; and
    for a folder in which `mgf prepare` was stopped while it replaced files.
    """
    require_finished(Path(path).parent)
    try:
        blob = b"".join(_blocks(Path(path), progress))
    except FileNotFoundError:
        raise ManifestError(
            f"manifest {path} does not exist: `mgf prepare SOURCE --dest {Path(path).parent}` "
            "writes one"
        ) from None
    except OSError as error:
        raise ManifestError(f"manifest {path} cannot be read ({error.strerror})") from error
    if not blob or blob.isspace():
        raise ManifestError(f"manifest {path} is empty: run `mgf prepare` again")
    size = len(blob)
    while blob[size - 1] in b"\r\n":
        size -= 1
    raw = np.frombuffer(blob, np.uint8, size)
    newlines = np.flatnonzero(raw == ord("\n")).astype(np.int64)
    if not len(newlines):
        raise ManifestError(
            f"manifest {path} has a root line and no rows: check the folder that was given to "
            "`mgf prepare`, and its `--ext`"
        )
    _check_text(path, blob)
    starts = newlines + 1
    line_ends = np.append(newlines[1:], size)
    tabs = np.flatnonzero(raw == ord("\t")).astype(np.int64)
    tabs = tabs[tabs > newlines[0]]
    _check_columns(path, blob, starts, line_ends, tabs)
    # A name may end in any kind of space; a byte order mark is the work of an editor.
    root = blob[: newlines[0]].decode("utf-8").removeprefix("\ufeff").rstrip("\r")
    if not root.strip() or "\t" in root:
        raise ManifestError(f"{path} line 1 ({root!r}): must be the root folder of the audio")
    num_samples = _parse_counts(path, blob, tabs, line_ends)
    return Manifest(Path(root), PathTable(blob, starts, tabs), num_samples)


def looks_like_manifest(path: Path) -> bool:
    """Whether a file begins as a manifest does: a root, then `path<TAB>num_samples`."""
    try:
        with open(path, "rb") as stream:
            root, _, rest = stream.read(_LOOKED_AT).partition(b"\n")
    except OSError:
        return False
    row = rest.split(b"\n", 1)[0].split(b"\t")
    last = row[-1].strip().decode("latin-1")
    return bool(root.strip()) and b"\t" not in root and len(row) == 2 and is_count(last)


def _blocks(path: Path, progress: Callable[[], object]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            progress()
            yield block


def _check_text(path: str | os.PathLike[str], blob: bytes) -> None:
    """All of it is UTF-8, without NUL, which no path can hold."""
    position = blob.find(0)
    if position < 0 and not blob.isascii():
        try:
            blob.decode("utf-8")
        except UnicodeDecodeError as error:
            position = error.start
    if position >= 0:
        line = blob.count(10, 0, position) + 1
        raise ManifestError(
            f"{path} line {line}: byte {blob[position]:#04x} is no UTF-8 "
            "text: convert the file, for instance with iconv, or run `mgf prepare` again"
        )


def _check_columns(
    path: str | os.PathLike[str],
    blob: bytes,
    starts: npt.NDArray[np.int64],
    line_ends: npt.NDArray[np.int64],
    tabs: npt.NDArray[np.int64],
) -> None:
    """Each line holds exactly one tab, with something on its left."""
    if len(tabs) == len(starts) and ((starts < tabs) & (tabs < line_ends)).all():
        return
    per_line = np.searchsorted(tabs, line_ends) - np.searchsorted(tabs, starts)
    wrong = np.flatnonzero(per_line != 1)
    if not len(wrong):
        wrong = np.flatnonzero(tabs == starts)
    if len(wrong):
        row = int(wrong[0])
        line = blob[starts[row] : line_ends[row]].decode("utf-8", "replace")
        raise ManifestError(
            f"{path} line {row + 2} ({line[:80]!r}): expected `relative/path<TAB>num_samples`; "
            "correct or remove the line, or run `mgf prepare` again"
        )


def _parse_counts(
    path: str | os.PathLike[str],
    blob: bytes,
    tabs: npt.NDArray[np.int64],
    line_ends: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Read the second column of all lines at once, digit by digit: a million lines in no time."""
    raw = np.frombuffer(blob, np.uint8)
    starts, ends = tabs + 1, line_ends.copy()
    while (padded := _is_space(raw, ends - 1) & (ends > starts)).any():
        ends -= padded
    while (padded := _is_space(raw, starts) & (starts < ends)).any():
        starts += padded
    lengths = ends - starts
    wrong = (lengths < 1) | (lengths > MOST_DIGITS)
    counts = np.zeros(len(tabs), np.int64)
    for place in range(int(lengths[~wrong].max(initial=0))):
        rows = np.flatnonzero(lengths > place)
        digits = raw[starts[rows] + place].astype(np.int64) - ord("0")
        wrong[rows[(digits < 0) | (digits > 9)]] = True
        counts[rows] = counts[rows] * 10 + digits
    if wrong.any():
        row = int(wrong.argmax())
        text = blob[starts[row] : ends[row]].decode("utf-8", "replace")
        raise ManifestError(
            f"{path} line {row + 2}: num_samples is {text!r}, not a "
            "whole number of audio samples; correct the line, or run `mgf prepare` again"
        )
    return counts


def _is_space(raw: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    letters = raw[np.minimum(places, len(raw) - 1)]
    found: npt.NDArray[np.bool_] = (letters == ord(" ")) | (letters == ord("\r"))
    return found


def write_manifest(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str],
    rows: Iterable[tuple[str, int]],
) -> None:
    """Write a wav2vec .tsv in one step: readers see the old file or the whole new one.

    Raises ManifestError for a path with a tab or line break, or a negative count.
    """
    if any(mark in os.fspath(root) for mark in "\t\n\r"):
        raise ManifestError(
            f"the folder {os.fspath(root)!r} cannot be the root of a .tsv: rename it, its name "
            "holds a tab or a line break"
        )
    with replace_file(path) as stream:
        stream.write(f"{os.fspath(root)}\n")
        for name, count in rows:
            if any(mark in name for mark in "\t\n\r") or count < 0:
                raise ManifestError(
                    f"{name!r} with {count} samples cannot be in a .tsv: rename the file"
                )
            stream.write(f"{name}\t{count}\n")
