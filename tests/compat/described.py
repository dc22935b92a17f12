"""A checkpoint as JSON without its numbers, and back with numbers made by a formula.

The repository holds no weights: what an earlier version saved is kept as its keys, shapes, types
and settings, and the tensors are filled in here, equally on every machine.

    python tests/compat/described.py CHECKPOINT.pt DESCRIPTION.json
"""

import json
import math
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from fairseq.data import Dictionary


def describe(value: Any) -> Any:
    """Return what JSON can hold of a checkpoint; a tensor becomes its shape and type."""
    if isinstance(value, torch.Tensor):
        return {"tensor": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Dictionary):
        symbols = value.symbols[value.nspecial :]
        return {"dictionary": symbols, "counts": value.count[value.nspecial :]}
    if isinstance(value, Namespace):
        return {"namespace": describe(vars(value))}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: describe(item) for key, item in value.items()}
        return {"items": [[describe(key), describe(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [describe(item) for item in value]}
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    assert value is None or isinstance(value, str | int | float | bool), type(value)
    return value


def fill(description: Any, name: str = "") -> Any:
    """Return the checkpoint of a description, each tensor made from its name."""
    if isinstance(description, list):
        return [fill(item, f"{name}.{index}") for index, item in enumerate(description)]
    if not isinstance(description, dict):
        return description
    if "tensor" in description:
        return _tensor(description["tensor"], getattr(torch, description["dtype"]), name)
    if "dictionary" in description:
        dictionary = Dictionary()
        pairs = zip(description["dictionary"], description["counts"], strict=True)
        for symbol, count in pairs:
            dictionary.add_symbol(symbol, n=count)
        return dictionary
    if "namespace" in description:
        return Namespace(**fill(description["namespace"], name))
    if "items" in description:
        pairs = description["items"]
        return {fill(key): fill(item, f"{name}.{index}") for index, (key, item) in enumerate(pairs)}
    if "tuple" in description:
        return tuple(fill(description["tuple"], name))
    if "float" in description:
        return float(description["float"])
    return {key: fill(item, f"{name}.{key}") for key, item in description.items()}


def _tensor(shape: list[int], dtype: torch.dtype, name: str) -> torch.Tensor:
    """Numbers of a usual size, positive where a norm or a square is kept."""
    count = math.prod(shape)
    if not dtype.is_floating_point:
        return torch.arange(count).reshape(shape).to(dtype)
    wave = torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + crc32(name.encode()) % 1000)
    scale = 0.5 if len(shape) > 1 else 0.1
    values = scale * wave / math.sqrt(max(1, math.prod(shape[1:])))
    if name.endswith(("weight_g", "exp_avg_sq")):
        values = values.abs()
    elif name.endswith("weight") and len(shape) == 1:
        values = values + 1  # the gain of a norm
    return values.reshape(shape).to(dtype)


if __name__ == "__main__":
    state = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
    text = json.dumps(describe(state), ensure_ascii=False, separators=(",", ":"))
    Path(sys.argv[2]).write_text(text + "\n", encoding="utf-8")
