"""A waveform at zero mean and unit variance: what `task.normalize` gives every encoder.

Used wherever one whole waveform is read; `features.unit_variance` does the same for padded rows.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .features import WAVEFORM_EPSILON


def normalized(waveform: Tensor) -> Tensor:
    """(S,) -> (S,) with zero mean and unit variance over all samples.

    As fairseq/data/audio/raw_audio_dataset.py, RawAudioDataset.postprocess.
    """
    return F.layer_norm(waveform, waveform.shape, eps=WAVEFORM_EPSILON)
