"""The autocasts that a task offers, around the forward pass of a training."""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch

from .processor import bf16_instructions

logger = logging.getLogger(__name__)

AUTOCAST = ("none", "bf16", "auto")


def in_autocast(criterion: Any, name: str) -> Any:
    """Wrap the forward pass alone: fairseq's own train_step turns an outer autocast off on
    CUDA, and backward does not belong in one.
    """
    if name == "none":
        return criterion

    def forward(model: Any, sample: dict[str, Any]) -> Any:
        device = sample["net_input"]["source"].device.type
        dtype = autocast_dtype(name, device)
        if dtype is None:
            return criterion(model, sample)
        with torch.autocast(device, dtype=dtype):
            return criterion(model, sample)

    return forward


@functools.cache
def autocast_dtype(name: str, device: str) -> torch.dtype | None:
    """Give what to compute in, None for fp32; ``auto`` says once in the log what it takes."""
    if name != "auto":
        return torch.bfloat16 if name == "bf16" else None
    has = has_bf16(device)
    logger.info(
        "task.autocast=auto: this %s %s bf16 instructions, so training computes in %s",
        device,
        "has" if has else "has no",
        "bf16 over fp32 weights" if has else "fp32",
    )
    return torch.bfloat16 if has else None


def has_bf16(device: str) -> bool:
    """Whether a device computes in bf16 itself; a processor that Linux does not describe: no."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(bf16_instructions())
