"""The machine: processor, memory, devices, and which of them compute in bf16.

For `mgf info` and `mgf doctor`; torch is asked only where it can be imported.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GB = 1024**3
# Flags of /proc/cpuinfo under which torch has fast bf16 matrix products on x86.
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "avx_ne_convert")


@dataclass(frozen=True)
class Device:
    """A GPU that torch can use."""

    name: str
    memory_gb: float
    bf16: bool


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in first)}


def processor() -> str:
    """The name of the processor."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def processor_bf16() -> list[str]:
    """The instructions for bf16 that the processor has; none: bf16 is emulated and slow."""
    flags = cpuinfo().get("flags", "").split()
    return [flag for flag in BF16_FLAGS if flag in flags]


def memory_gb() -> float | None:
    """The machine's memory in GB, or None where it is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    except (ValueError, OSError, AttributeError):
        return None


def nvidia_driver() -> bool:
    """Whether a driver of NVIDIA's is loaded, whatever torch was built for."""
    return Path("/proc/driver/nvidia/version").exists()


def devices(torch: Any) -> list[Device]:
    """The GPUs that this torch can use."""
    if not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        # bf16 matrix products in hardware begin with compute capability 8 (Ampere).
        found.append(Device(facts.name, facts.total_memory / GB, facts.major >= 8))
    return found
