"""Does a recording have as many samples as its manifest says? One rule for all that read it.

Beside the audio reader: training, feature extraction and `mgf check` ask here.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .audio import AudioError, AudioReader

Count = TypeVar("Count", int, NDArray[np.int64])


def slack(expected: Count) -> Count:
    """How far the number of samples in a file may be from what the manifest says.

    Resampling rounds, and headers of some formats do; anything more is another file, or a count
    at another rate.
    """
    return 1 + expected // 1000


def fits(found: int, expected: int) -> bool:
    """Whether a file with `found` samples is used under a manifest that says `expected`."""
    return abs(found - expected) <= slack(expected)


def difference(found: int, expected: int, sample_rate: int) -> str:
    """Both counts in words."""
    return f"the manifest says {expected} samples, the file has {found} at {sample_rate} Hz"


def require_fit(reader: AudioReader, expected: int) -> None:
    """Raise AudioError where a file does not fit what its manifest says."""
    if not fits(reader.num_samples, expected):
        words = difference(reader.num_samples, expected, reader.sample_rate)
        raise AudioError(f"{reader.entry}: {words}; run `mgf prepare` again")
