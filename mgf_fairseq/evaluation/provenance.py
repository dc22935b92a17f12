"""Where a number comes from: command, commit, hardware, date and wall time of the current process.

Every result file begins with it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ..utils.package import package_dir
from ..utils.processor import cores, processor_name
from .results import Provenance

UNKNOWN = "unknown"


def provenance(started: float, device: str = "cpu") -> Provenance:
    """Describe this process.

    Args:
        started: `time.monotonic()` when the work began.
        device: what the work ran on, cpu or cuda.
    """
    return Provenance(
        command=command_line(),
        commit=commit(),
        hardware=hardware(device),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
    )


def command_line() -> str:
    """The command as it was typed, its program by name alone."""
    program, *arguments = sys.argv or [UNKNOWN]
    return shlex.join([Path(program).name, *arguments])


def commit() -> str:
    """The commit of the checkout that this code runs from, `-dirty` with changes; else the version.

    A package outside its own checkout has no commit of its own.
    """
    from .. import __version__

    package = package_dir().resolve()
    if not (package.parent / ".git").exists():
        return f"version {__version__}"
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=package,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"
    return found.stdout.strip() or f"version {__version__}"


def hardware(device: str = "cpu") -> str:
    """The processor with its usable cores, or the GPU, and the version of torch."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        name = torch.cuda.get_device_name(torch.device(device))
    else:
        name = f"{cores()} x {processor_name()}"
    return f"{name}, torch {torch.__version__}"
