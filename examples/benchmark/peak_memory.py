"""The peak memory of a system's step, each measured in a process of its own.

`pretraining.py` starts itself again for each system, with `--memory-of`.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from machine import STATUS, progress, status_mib
from setting import Setting
from systems import build

# Every sizeable block straight from and back to the system: the process is as large as its tensors.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MEMORY_STEPS = 3


def memory_of(name: str, setting: Setting) -> float | None:
    """Measure the peak MiB of parameters, gradients, optimizer and activations, in this process."""
    if setting.device == "cuda":
        torch.cuda.init()
        _run_for_memory(name, setting)
        return float(torch.cuda.max_memory_allocated() / 2**20)
    if not STATUS.exists():
        return None  # only Linux reports it
    small = Setting(rows=2, seconds=0.5)
    _run_for_memory(name, small)  # loads the libraries, which are not what is compared
    gc.collect()
    before = status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    _run_for_memory(name, setting)
    return status_mib("VmHWM") - before


def _run_for_memory(name: str, setting: Setting) -> None:
    system = build(name, setting)
    for number in range(MEMORY_STEPS):
        system.step(number)


def measure_memory(names: list[str]) -> dict[str, float | None]:
    """Measure each system in a process of its own: MiB by name."""
    peaks: dict[str, float | None] = {}
    for name in names:
        command = [sys.executable, *sys.argv, "--memory-of", name]
        done = subprocess.run(
            command, env={**os.environ, **MALLOC}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
        peaks[name] = json.loads(done.stdout.splitlines()[-1])
        progress(f"memory of {name}")
    return peaks
