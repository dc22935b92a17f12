"""Sample rates, which a manifest does not state: found from the headers of its audio.

The rate that its counts are in, for hours, limits and features; and files of another rate than a
training needs, for the look before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..utils.threads import ordered_map
from .audio import AudioError, audio_info, resampled_length
from .entries import ManifestError
from .manifest import Manifest, read_manifest

_COMMON_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
_TRIED = 20  # files; most of them decide, for single ones may have changed
_CLOSE = 0.01
_LOOKED_AT = 2000  # files of a manifest, evenly spread: about a second from a local disk
_THREADS = 8


def counted_rate(manifest: Manifest, rows: Sequence[int], default: int) -> int:
    """The common rate at which the counts of the first readable rows agree with their files.

    `default` is returned if no row can be read, and if no common rate fits.
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


def other_rate(path: Path, sample_rate: int) -> str:
    """Say which file of a manifest has another rate, and the fix; empty if none of those tried has.

    Unreadable files and manifests are passed over here; `mgf check` names them and looks at all.
    """

    def find(row: int) -> tuple[str, int] | None:
        try:
            entry = manifest.entry(row)
            return entry, audio_info(entry).sample_rate
        except (AudioError, ManifestError):
            return None

    try:
        manifest = read_manifest(path)
    except ManifestError:
        return ""
    rows = np.unique(np.linspace(0, len(manifest) - 1, _LOOKED_AT).astype(int)).tolist()
    for entry, rate in filter(None, ordered_map(find, rows, _THREADS)):
        if rate != sample_rate:
            return (
                f"{path.name} holds {entry} of {rate} Hz, and fairseq's own tasks read files of "
                f"task.sample_rate={sample_rate} only: 'mgf prepare ... --convert' writes all "
                "audio at one rate"
            )
    return ""
