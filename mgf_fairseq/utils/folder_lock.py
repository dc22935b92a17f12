"""One process at a time for a folder, on one machine or on a file system with locks.

Held while features are written, so that two commands never write the same ones.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder; a second process waits, and a killed one releases it."""
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(lock, "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                current = os.path.samestat(os.fstat(stream.fileno()), lock.stat())
            except FileNotFoundError:
                current = False
            if not current:  # its last holder removed it while we waited
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return
