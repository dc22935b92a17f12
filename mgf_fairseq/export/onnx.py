"""ONNX with any batch and length and a padding mask, in fp32 and with int8 weights.

Both files are run by onnxruntime before they are handed over.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .parity import Difference, Rows, compare, named_outputs, output_names
from .source import CLASSIFIER, CTC, Source
from .torch_export import example

NEEDS = ("onnx", "onnxruntime", "onnxscript")
HEADS = (CTC, CLASSIFIER)
FLOAT, INT8 = "model.onnx", "model.int8.onnx"
INPUTS = ("waveform", "padding_mask")


def usage(source: Source) -> str:
    """Code that loads an export."""
    return f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("DEST/{FLOAT}")  # or {INT8}
waveform = np.random.randn(2, 16000).astype(np.float32)  # (B, S), as read from a file
padding_mask = np.zeros((2, 16000), dtype=bool)  # True = padding, at the end of a row
padding_mask[1, 12000:] = True
inputs = {{"waveform": waveform, "padding_mask": padding_mask}}
OUTPUTS = session.run(None, inputs)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Write both files, run them, and compare."""
    with _quiet():
        _write_float(source, folder / FLOAT)
        _write_int8(folder / FLOAT, folder / INT8)
    found = compare(source, lambda rows: _run(source, folder / FLOAT, rows))
    rounded = compare(source, lambda rows: _run(source, folder / INT8, rows), limit=None)
    return found + [
        Difference(f"{x.what} (int8)", x.rows, x.largest, x.scale, x.limit) for x in rounded
    ]


def _write_float(source: Source, path: Path) -> None:
    shape = {0: "batch", 1: "samples"}
    with torch.no_grad():
        program = torch.onnx.export(
            source.standalone().requires_grad_(False),
            example(source),
            dynamo=True,
            input_names=INPUTS,
            output_names=output_names(source),
            dynamic_shapes=(shape, shape),
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)


def _write_int8(path: Path, dest: Path) -> None:
    """Round the weights of matrix products to int8; their inputs are rounded as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path, dest, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8
    )


def _run(source: Source, path: Path, rows: Rows) -> dict[str, Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values: Any = (rows.padded.numpy(), rows.padding_mask.numpy())
    outputs = session.run(None, dict(zip(INPUTS, values, strict=True)))
    return named_outputs(source, [torch.from_numpy(output) for output in outputs])


@contextlib.contextmanager
def _quiet() -> Any:
    """Without what torch's exporter and the quantizer say of themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
