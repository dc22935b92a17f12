"""The autocasts that a task offers, around the forward pass of a training."""

from __future__ import annotations

from typing import Any

import torch

AUTOCAST = {"none": None, "bf16": torch.bfloat16}


def in_autocast(criterion: Any, name: str) -> Any:
    """Wrap the forward pass alone: fairseq's own train_step turns an outer autocast off on
    CUDA, and backward does not belong in one.
    """
    dtype = AUTOCAST[name]
    if dtype is None:
        return criterion

    def forward(model: Any, sample: dict[str, Any]) -> Any:
        with torch.autocast(sample["net_input"]["source"].device.type, dtype=dtype):
            return criterion(model, sample)

    return forward
