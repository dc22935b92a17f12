"""What passes between the host and the device, so that a training step seldom waits.

Numbers of an update come to the host together; indices that the host knows are sent, not asked for;
waveforms travel as the bits of their fp32 samples, which fairseq's half precisions do not round.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_host(*values: Tensor) -> list[list[float]]:
    """Bring tensors of any shapes to the host, flattened, in one transfer for all."""
    flat = [value.detach().flatten().double() for value in values]
    numbers = iter(torch.cat(flat).tolist())
    return [list(islice(numbers, len(part))) for part in flat]


def to_device(values: NDArray[np.int64], device: torch.device) -> Tensor:
    """Send integers to the device; to a GPU from pinned memory, so that nothing waits."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, non_blocking=True)


def as_bits(waveform: Tensor) -> Tensor:
    """See fp32 samples as int32: ``common.fp16`` and ``bf16`` would round fp32 on its way."""
    return waveform.view(torch.int32)


def from_bits(source: Tensor) -> Tensor:
    """See a waveform in fp32 that may have travelled as :func:`as_bits` made it."""
    return source.view(torch.float32) if source.dtype == torch.int32 else source.float()
