"""Waveforms at zero mean and unit variance, as wav2vec 2.0's recipes feed them.

One definition for training, extraction, decoding and the acoustic targets: a model must be used
with the normalization that it was trained with.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

VARIANCE_EPSILON = 1e-5  # added to the variance, so that silence stays finite


def unit_variance(waveform: Tensor) -> Tensor:
    """Normalize one waveform (S,) as a whole, without padding."""
    return F.layer_norm(waveform, waveform.shape, eps=VARIANCE_EPSILON)


def unit_variance_rows(waveform: Tensor, padding_mask: Tensor) -> Tensor:
    """Normalize each row (B, S) over its valid samples, in fp32; padding (B, S) becomes 0."""
    valid = ~padding_mask
    values = waveform.float().masked_fill(padding_mask, 0)
    count = valid.sum(1, keepdim=True).clamp(min=1)
    centered = (values - values.sum(1, keepdim=True) / count).masked_fill(padding_mask, 0)
    variance = centered.square().sum(1, keepdim=True) / count
    return centered * (variance + VARIANCE_EPSILON).rsqrt()
