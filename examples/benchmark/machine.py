"""The machine that a benchmark ran on, and what its programs say while they run."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mgf_fairseq.utils.processor import cores, processor_name

STATUS = Path("/proc/self/status")


def card_or_processor(device: str) -> str:
    """Name what computes: the GPU, or the processor."""
    return torch.cuda.get_device_name() if device == "cuda" else processor_name()


def commit() -> str:
    """Name the commit of this checkout, with + if files differ from it; empty outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def describe_machine(device: str, threads: int) -> dict[str, Any]:
    """Name the hardware, the versions and the load that others put on the machine."""
    hardware = f"{processor_name()}, {cores()} cores, {threads} threads used"
    if device == "cuda":
        hardware = f"{torch.cuda.get_device_name()}; {hardware}"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("fairseq-fixed", "fairseq", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "hardware": hardware,
        "load_before": os.getloadavg()[0],
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def status_mib(key: str) -> float:
    """Read a size of this process; unlike ru_maxrss it knows nothing of the parent's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def progress(text: str) -> None:
    """Say on standard error how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)
