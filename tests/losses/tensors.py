"""Random tensors and masks."""

import torch


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)
