"""One TorchScript file, which `torch.jit.load` and libtorch run without any Python of ours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from .parity import Difference, compare, named_outputs
from .source import CLASSIFIER, CTC, Source

NEEDS: tuple[str, ...] = ()
HEADS = (CTC, CLASSIFIER)
FILE = "model.ts"


def usage(source: Source) -> str:
    """Code that loads an export."""
    return f"""\
import torch

model = torch.jit.load("DEST/{FILE}")
waveform = torch.randn(2, 16000)  # (B, S), as read from a file
padding_mask = torch.zeros(2, 16000, dtype=torch.bool)  # True = padding, at the end of a row
padding_mask[1, 12000:] = True
OUTPUTS = model(waveform, padding_mask)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Script the model, which keeps its loops and any batch and length, and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.export is newer
        scripted = torch.jit.script(source.standalone().requires_grad_(False))
        path = folder / FILE
        torch.jit.save(scripted, str(path))  # type: ignore[no-untyped-call]
        model: Any = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return compare(
        source, lambda rows: named_outputs(source, model(rows.padded, rows.padding_mask))
    )
