"""Adam's step as training makes it, beside fairseq's loop over the parameters, on MGF's own shapes.

Both take their turn in each round, on copies of the same weights and gradients; ratios above 1 are
in favor of the one operation (``mgf_fairseq/host/adam.py``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from fairseq.optim.adam import Adam
from setting import Setting
from systems import build_mgf

from mgf_fairseq.host.adam import fused

SETTINGS = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
LOOP = getattr(Adam.step, "__wrapped__", Adam.step)  # fairseq's own


def main() -> None:
    """Print the ratio of processor time, its range over rounds, and how far the weights differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", choices=("mini", "small", "base"), default="small")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shapes = [
        parameter.shape
        for parameter in build_mgf(Setting(arguments.shape, rows=2, seconds=0.5)).model.parameters()
    ]
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    steps = {
        "loop": (LOOP, Adam(weights, **SETTINGS)),
        "one": (fused(LOOP), Adam(copies, **SETTINGS)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(arguments.rounds + 1):
        for weight, copy in zip(weights, copies, strict=True):
            weight.grad = 1e-2 * torch.randn_like(weight)
            copy.grad = weight.grad.clone()
        for name in sorted(steps, reverse=bool(number % 2)):
            step, optimizer = steps[name]
            began = time.process_time()
            step(optimizer)
            seconds[name].append(time.process_time() - began)
    ratios = [loop / one for loop, one in zip(seconds["loop"][1:], seconds["one"][1:], strict=True)]
    with torch.no_grad():
        apart = max(float((a - b).abs().max()) for a, b in zip(weights, copies, strict=True))
    result = {
        "shape": arguments.shape,
        "parameters": sum(shape.numel() for shape in shapes),
        "tensors": len(shapes),
        "loop_s": statistics.median(seconds["loop"][1:]),
        "one_s": statistics.median(seconds["one"][1:]),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "largest_difference": apart,
    }
    print(json.dumps(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
