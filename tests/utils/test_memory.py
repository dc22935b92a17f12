"""Free memory, of the machine and of the control groups that limit a process."""

from pathlib import Path

import pytest

from mgf_fairseq.utils.memory import available_memory

KIB = 1024


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    return path


@pytest.mark.parametrize(
    ("folder", "limit", "usage"),
    [
        (".", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_tighter_of_machine_and_group_counts(tmp_path, meminfo, folder, limit, usage):
    group = tmp_path / "groups" / folder
    group.mkdir(parents=True)
    assert available_memory(meminfo, tmp_path / "groups") == 5000 * KIB
    (group / limit).write_text(f"{4000 * KIB}\n")
    (group / usage).write_text(f"{3500 * KIB}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {1000 * KIB}\nactive_file 7\n")
    assert available_memory(meminfo, tmp_path / "groups") == 1500 * KIB
    (group / limit).write_text("max\n" if folder == "." else f"{2**63 - 4096}\n")
    assert available_memory(meminfo, tmp_path / "groups") == 5000 * KIB


def test_nothing_is_said_where_the_system_does_not_say(tmp_path):
    assert available_memory(tmp_path / "none", tmp_path) is None
