"""The processor: its name, the cores that this process may use, and what it has for bf16.

Below everything that asks: the autocast of a training, results, benchmarks, `mgf info`.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# As Linux names the instructions that multiply in bf16, on x86 and ARM. avx_ne_convert is not one:
# it converts alone, so that products take as long as in fp32.
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The name of the processor, or of its architecture where nothing else is known."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def bf16_instructions() -> list[str]:
    """The instructions for bf16 that the processor has; none: bf16 is emulated and slow.

    A processor that Linux does not describe has none.
    """
    found = _cpuinfo()
    flags = f"{found.get('flags', '')} {found.get('features', '')}".lower().split()
    return [flag for flag in BF16_FLAGS if flag in flags]


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo, by lower-case name; empty elsewhere."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in lines}
