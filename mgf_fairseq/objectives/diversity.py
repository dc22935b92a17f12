"""How different vectors are from each other: a number for the log that shows a collapse.

Used by the phoneme and utterance objectives; it has no gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def diversity(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far (M, D) vectors point in different directions: (sum, M).

    One minus the squared length of the mean unit vector, which is one minus the mean cosine of
    all pairs: 0 where all are equal (collapse), near 1 where they spread.
    """
    count = vectors.new_full((), len(vectors), dtype=torch.float32)
    if len(vectors) == 0:
        return count, count
    mean = F.normalize(vectors.detach().float(), dim=1).mean(dim=0)
    return count * (1.0 - mean.dot(mean)), count
