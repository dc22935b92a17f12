"""One file of `torch.export`, for torch.compile, AOTInductor and ExecuTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .parity import Difference, compare, named_outputs
from .source import CLASSIFIER, CTC, Source

NEEDS: tuple[str, ...] = ()
HEADS = (CTC, CLASSIFIER)
FILE = "model.pt2"


def usage(source: Source) -> str:
    """Code that loads an export."""
    return f"""\
import torch

model = torch.export.load("DEST/{FILE}").module()
waveform = torch.randn(2, 16000)  # (B, S), as read from a file
padding_mask = torch.zeros(2, 16000, dtype=torch.bool)  # True = padding, at the end of a row
padding_mask[1, 12000:] = True
OUTPUTS = model(waveform, padding_mask)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Export the graph for any batch and length, and compare."""
    model = source.standalone().requires_grad_(False)
    waveform, padding_mask = example(source)
    with torch.no_grad():
        program = torch.export.export(
            model, (waveform, padding_mask), dynamic_shapes=(ANY_SHAPE, ANY_SHAPE)
        )
    path = folder / FILE
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    return compare(
        source, lambda rows: named_outputs(source, loaded(rows.padded, rows.padding_mask))
    )


ANY_SHAPE = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}


def example(source: Source) -> tuple[Tensor, Tensor]:
    """Two rows of which one is padded, to record the graph with: (B, S) fp32 and bool."""
    samples = source.held.sample_rate
    waveform = torch.linspace(-1, 1, 2 * samples).view(2, samples)
    padding_mask = torch.zeros(2, samples, dtype=torch.bool)
    padding_mask[1, samples // 2 :] = True
    return waveform, padding_mask
