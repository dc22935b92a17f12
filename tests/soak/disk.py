"""A small disk of its own for the checkpoints, which can be filled up: a tmpfs, so errors are real.

Mounting needs root; without it the faults that need it are skipped, and the table says so.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SIZE_MB = 48
_FILLER = "filler"


@dataclass
class Disk:
    """A folder that is a file system of `SIZE_MB`, if it could be mounted."""

    folder: Path
    mounted: bool = False

    def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        size = f"size={SIZE_MB}m"
        command = ["mount", "-t", "tmpfs", "-o", size, "mgf-soak", str(self.folder)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self.mounted = False

    def unmount(self) -> None:
        """Take it away, checkpoints included."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
            self.mounted = False

    def fill(self, leave: int) -> None:
        """Write until no more than `leave` bytes are free."""
        block = bytes(4096)
        with (self.folder / _FILLER).open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(block)
            except OSError:  # no space left on device
                file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        (self.folder / _FILLER).unlink(missing_ok=True)
