"""Files that appear under their name only when they are complete, and only over our own.

Below everything that writes: each verb asks `refuse_foreign` before it replaces a file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class ForeignFileError(ValueError):
    """A file would be written over that no command of ours wrote; the message names it."""


def refuse_foreign(
    paths: Iterable[Path], ours: Callable[[Path], bool], option: str = "--dest"
) -> None:
    """Raise ForeignFileError where a path exists, holds something and is not `ours`.

    Args:
        paths: what is about to be written.
        ours: whether an existing file is one that the same command writes.
        option: that which chooses another place, for the message.
    """
    for path in paths:
        if path.is_dir() or (path.is_file() and path.stat().st_size and not ours(path)):
            raise ForeignFileError(
                f"{path} exists and was not written by this command, so it is not replaced: "
                f"choose another {option}, or move that file"
            )


def begins_with(*starts: str) -> Callable[[Path], bool]:
    """A test for `refuse_foreign`: the file begins with one of these texts."""
    wanted = [start.encode() for start in starts]

    def test(path: Path) -> bool:
        try:
            with open(path, "rb") as stream:
                return stream.read(max(map(len, wanted))).startswith(tuple(wanted))
        except OSError:
            return False

    return test


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Path to write to, which takes the place of `path` at the end; removed after an error.

    Each call has a path of its own, so threads, processes and machines that write the same file
    at once do not meet: the last one stays.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """Text file for `replacing`: UTF-8, lines end with a line feed."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        yield file
