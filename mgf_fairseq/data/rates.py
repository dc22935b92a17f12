"""The sample rate that a manifest counts at, which it does not say: found from its audio.

For the commands that would otherwise take 16 kHz for granted: hours, limits and features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .audio import AudioError, audio_info, resampled_length
from .entries import ManifestError
from .manifest import Manifest

_COMMON_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
_TRIED = 20  # files; most of them decide, for single ones may have changed
_CLOSE = 0.01


def counted_rate(manifest: Manifest, rows: Sequence[int], default: int) -> int:
    """The common rate at which the counts of the first readable rows are those of their files.

    `default` is returned where it is that, where no row can be read, and where no rate fits.
    """
    implied = []
    for row in rows[:_TRIED]:
        try:
            info = audio_info(manifest.entry(row))
        except (AudioError, ManifestError):
            continue
        there = resampled_length(info.num_samples, info.sample_rate, default)
        implied.append(int(manifest.num_samples[row]) * default / max(there, 1))
    if not implied:
        return default
    middle = float(np.median(implied))
    rate = min(_COMMON_RATES, key=lambda common: abs(common - middle))
    return rate if abs(rate - middle) < _CLOSE * rate else default
