"""Matrix work of a step, the machine's measured matrix rate, and the share of it that a step uses.

The share (MFU) is matrix FLOPs of the step / seconds of the step / FLOPs per second of a large
product in the same precision on the same machine. Only matrix products, convolutions and attention
count, forward and backward, as torch's own counter sees them in eager mode.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from setting import Setting
from systems import build
from torch.utils.flop_counter import FlopCounterMode

from mgf_fairseq.encoder.compilation import as_written

SIZE = {"cuda": 8192, "cpu": 1024}  # of the square matrices
REPEATS = {"cuda": 20, "cpu": 2}
TRIALS = 5


def matrix_rate(
    setting: Setting, clock: Callable[[], float] = time.perf_counter, size: int | None = None
) -> float:
    """Measure FLOPs per second of a square matrix product in the setting's precision: the best.

    A CPU's is that of fp32: its products in bf16 depend on the processor by orders of magnitude.
    """
    device, n = setting.device, size or SIZE[setting.device]
    bf16 = setting.precision == "bf16" and device == "cuda"
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(1 + TRIALS):  # the first warms up, and is hardly the best
        _wait(device)
        began = clock()
        for _ in range(REPEATS[device]):
            torch.mm(a, b)
        _wait(device)
        best = max(best, 2 * n**3 * REPEATS[device] / (clock() - began))
    return best


def step_flops(name: str, setting: Setting) -> int:
    """Count the matrix FLOPs of one step of a system, forward and backward."""
    system = build(name, setting)
    counter = FlopCounterMode(display=False)
    with as_written(), counter:  # the counter cannot see into compiled code
        system.step(0)
    return int(counter.get_total_flops())


def add_utilization(
    table: dict[str, dict[str, Any]], setting: Setting, clock: Callable[[], float]
) -> float:
    """Add to each system's row its matrix work and share of the matrix rate; return the rate."""
    rate = matrix_rate(setting, clock)
    for name, row in table.items():
        row["matrix_flops"] = step_flops(name, setting)
        row["mfu"] = row["matrix_flops"] / row["step_s"] / rate
    return rate


def print_utilization(table: dict[str, dict[str, Any]], rate: float) -> None:
    """Print one line per system."""
    print(f"\nmeasured matrix rate {rate / 1e12:.2f} TFLOP/s")
    print(f"{'system':<18}{'GFLOP/step':>12}{'MFU':>8}")
    for name, row in table.items():
        print(f"{name:<18}{row['matrix_flops'] / 1e9:>12.1f}{row['mfu']:>8.1%}")


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
