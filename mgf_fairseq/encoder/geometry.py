"""The only frame arithmetic of the package: numbers of samples to numbers of frames and back.

Training, labels, checks and exports use it. It does not import torch, which takes seconds to load
and which label files do not need.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ConvLayer = tuple[int, int, int]  # (channels, kernel size, stride)
MOST_CONV_LAYERS = 100


def parse_conv_layers(text: str) -> tuple[ConvLayer, ...]:
    """Read wav2vec 2.0's ``conv_feature_layers`` string without evaluating it.

    Accepts lists of ``(channels, kernel, stride)`` joined by ``+`` and repeated by ``* n``, as in
    ``"[(512, 10, 5)] + [(512, 3, 2)] * 4"`` (fairseq ``Wav2Vec2Config.conv_feature_layers``).

    Raises:
        ValueError: the text is not of that form, or a number in it is not a positive integer.
    """

    def unfold(node: ast.expr) -> list[Any]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return unfold(node.left) + unfold(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            count = int(ast.literal_eval(node.right))
            if count > MOST_CONV_LAYERS:
                raise ValueError(count)
            return unfold(node.left) * count
        if isinstance(node, ast.List):
            return [ast.literal_eval(item) for item in node.elts]
        raise ValueError(ast.dump(node))

    layers: list[tuple[Any, ...]]
    try:
        layers = [tuple(layer) for layer in unfold(ast.parse(text, mode="eval").body)]
        well_formed = 0 < len(layers) <= MOST_CONV_LAYERS and all(
            len(layer) == 3 and all(isinstance(n, int) and n > 0 for n in layer) for layer in layers
        )
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        well_formed = False
    if not well_formed:
        raise ValueError(
            f"conv_feature_layers={text!r} is not a list of (channels, kernel, stride); "
            "write it like '[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2'"
        )
    return tuple(layers)


@dataclass(frozen=True)
class ConvGeometry:
    """Kernel sizes and strides of a conv stack without padding, and the lengths they imply."""

    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, layers: Sequence[ConvLayer]) -> ConvGeometry:
        """Take the geometry of ``(channels, kernel, stride)`` layers."""
        return cls(tuple(k for _, k, _ in layers), tuple(s for _, _, s in layers))

    @property
    def hop_length(self) -> int:
        """Samples between two frames."""
        hop = 1
        for stride in self.strides:
            hop *= stride
        return hop

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        field, hop = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return field

    def num_frames(self, num_samples: int) -> int:
        """Frames that the stack makes of ``num_samples`` samples; 0 below the receptive field."""
        length = num_samples
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            length = (length - kernel) // stride + 1 if length >= kernel else 0
        return length

    def centers(self, num_samples: int) -> list[float]:
        """The middle of what each frame of ``num_samples`` samples sees, in samples."""
        hop, half_field = self.hop_length, self.receptive_field / 2
        return [frame * hop + half_field for frame in range(self.num_frames(num_samples))]


def middle_hop(receptive_field: int, hop_length: int) -> int:
    """Where the hop in the middle of a frame begins, in samples after the frame's first one.

    Consecutive frames have consecutive middle hops, so these cut a signal into blocks, one a frame.
    """
    return (receptive_field - hop_length) // 2


# wav2vec 2.0's stack. All presets share its frame grid, which label files are made for.
STANDARD_GRID = ConvGeometry((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
