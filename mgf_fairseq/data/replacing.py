"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
