"""The machine: memory and devices, and which of these compute in bf16.

For `mgf info` and `mgf doctor`, beside utils/processor.py; torch is asked only where it can be
imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GB = 1024**3


@dataclass(frozen=True)
class Device:
    """A GPU that torch can use."""

    name: str
    memory_gb: float
    bf16: bool


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
