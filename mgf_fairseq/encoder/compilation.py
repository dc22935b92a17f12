"""Compile the encoder for training: torch.compile over its parts, each of them one graph.

The task asks for it (``task.compile``). The parts are the conv stack, the positional convolution
and each Transformer layer; all layers share their code. Between the parts the encoder stays as it
is, on purpose: the host draws masks there, layerdrop skips layers, activation checkpointing runs
them again, and DDP sends the gradients of a layer while those of the next are computed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from .speech_encoder import SpeechEncoder

logger = logging.getLogger(__name__)

COMPILE = ("none", "encoder")
MOST_SHAPES = 1024  # of a part, where torch itself stops at 8
Backend = str | Callable[..., Any]


def compiled_parts(encoder: SpeechEncoder) -> list[nn.Module]:
    """List the modules that are compiled, each as one graph."""
    transformer = encoder.encoder
    return [encoder.feature_extractor, transformer.pos_conv, *transformer.layers]


def compile_encoder(encoder: SpeechEncoder, backend: Backend = "inductor") -> None:
    """Let the encoder's parts be compiled as batches come, each shape once.

    In place (``nn.Module.compile``), so names in checkpoints stay. Each shape has code of its own:
    code for all lengths would depend on the lengths that came first, and a run that resumes would
    differ from one that nobody interrupted.
    """
    # Our parts are what DDP sends; its own cuts of a graph refuse autograd functions.
    torch._dynamo.config.optimize_ddp = False
    # The cosines of the objectives' gradients keep the graph for the step's own backward pass.
    torch._functorch.config.donated_buffer = False
    for part in compiled_parts(encoder):
        part.compile(backend=backend, fullgraph=True, dynamic=False, recompile_limit=MOST_SHAPES)


@contextlib.contextmanager
def as_written(active: bool = True) -> Iterator[None]:
    """Run compiled parts uncompiled, if active: validation has lengths of its own."""
    with torch.compiler.set_stance("force_eager") if active else contextlib.nullcontext():
        yield


def require_compiler(device: str) -> None:
    """Look for what inductor needs on a type of device; torch would say it in pages.

    Raises:
        ValueError: it is not there; the message names it.
    """
    lacking = None
    if device == "cuda":
        lacking = None if importlib.util.find_spec("triton") else "the package triton"
    else:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            lacking = "a C++ compiler, such as g++"
    if lacking:
        raise ValueError(
            f"task.compile=encoder needs {lacking}: install it, or set task.compile=none"
        )


class Compilation:
    """Compiles an encoder before its first step, and says in the log which shapes are new."""

    backend: Backend = "inductor"

    def __init__(self) -> None:
        self.encoder: SpeechEncoder | None = None
        self.seen: set[tuple[int, int, bool]] = set()

    def prepare(self, encoder: SpeechEncoder, num_samples: Sequence[int], width: int) -> None:
        """Prepare for a batch of rows of so many samples, padded to ``width``.

        Raises:
            ValueError: inductor lacks something on this machine.
        """
        if self.encoder is not encoder:
            if self.backend == "inductor":
                require_compiler(encoder.mask_emb.device.type)
            compile_encoder(encoder, self.backend)
            self.encoder = encoder
        padded = min(num_samples) < width  # a batch without padding attends without a mask
        shape = len(num_samples), width, padded
        if shape not in self.seen:
            self.seen.add(shape)
            logger.info(
                "task.compile: batches of %d x %d samples, %s padding, are compiled now; "
                "this is shape %d, and each takes seconds to minutes once",
                *shape[:2],
                "with" if padded else "without",
                len(self.seen),
            )
