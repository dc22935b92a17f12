"""What Linux says of processes: their children, their group, their memory.

Below job.py, which asks for the loader's workers, and memory.py, which asks for their sizes.
"""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    """Processes that `pid` has started and that live."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def command_line(pid: int) -> bytes:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def forks(pid: int) -> list[int]:
    """Children that run what `pid` runs, the oldest first: the workers of its data loaders."""
    own = command_line(pid)
    return [child for child in children(pid) if own and command_line(child) == own]


def resident_mb(pid: int) -> float | None:
    """Resident memory, or None where the process is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * _PAGE_MB or None  # one that has ended and waits for its parent has 0


def of_session(session: int) -> list[int]:
    """Processes of a session that live; those that only wait to be collected do not count."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, _, its_session = _fields(folder)[:4]
            except (OSError, ValueError):
                continue
            if state not in "ZX" and int(its_session) == session:
                found.append(int(folder.name))
    return found


def _fields(folder: Path) -> list[str]:
    """State, parent, group, session, ...: what follows the name, which may hold anything."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
