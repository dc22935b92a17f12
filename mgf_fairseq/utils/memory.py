"""How much memory this process may still take, by the machine and by its control groups."""

from __future__ import annotations

from pathlib import Path

GIB = 1024**3
_GROUPS = Path("/sys/fs/cgroup")
# Limit and use of a group, in versions 2 and 1 of Linux's control groups.
_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def available_memory(meminfo: Path = Path("/proc/meminfo"), groups: Path = _GROUPS) -> int | None:
    """Bytes that are free or can be freed; None where the system does not say.

    Args:
        meminfo: the machine's memory, as Linux writes it.
        groups: folder of the control groups that limit this process.
    """
    found = [_of_machine(meminfo), *(_of_group(groups, *names) for names in _FILES)]
    return min((free for free in found if free is not None), default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _of_group(groups: Path, limit: str, usage: str) -> int | None:
    """What a group's limit leaves; files that it keeps in memory can be dropped, so they are free.

    A container sees its own group here.
    """
    try:
        most, used = (int((groups / name).read_text()) for name in (limit, usage))
        lines = (groups / usage).with_name("memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # ValueError: "max", there is no limit
        return None
    kept = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, most - used + kept)
