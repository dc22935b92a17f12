"""A log-mel spectrogram of which masked stretches were filled in: its numbers and its file.

`infill.py` makes it of a checkpoint; pictures are drawn of it, without torch.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..utils.atomic import replacing

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Infilling:
    """An utterance in dB, and as the model completes it; some frames are masked, but not all."""

    original: Floats  # (T, F) dB
    filled: Floats  # (T, F) dB, equal to `original` where `masked` is False
    masked: npt.NDArray[np.bool_]  # (T,), True: the encoder did not see this frame
    frequencies: Floats  # (F,) Hz, centers of the mel bins
    frame_rate: float  # Hz

    def __post_init__(self) -> None:
        frames, bins = self.original.shape
        given = self.filled.shape, self.masked.shape, self.frequencies.shape
        if given != ((frames, bins), (frames,), (bins,)):
            raise ValueError(f"(T, F), (T,) and (F,) do not fit {(frames, bins)}: {given}")
        if not self.masked.any() or self.masked.all():
            raise ValueError("either no frame is masked, or every one")

    @property
    def error(self) -> float:
        """Mean absolute error of the masked frames, in dB."""
        return self._error_of(self.filled[self.masked])

    @property
    def error_of_means(self) -> float:
        """The same where each bin is guessed to be what it is on average elsewhere, in dB."""
        return self._error_of(self.original[~self.masked].mean(0))

    def _error_of(self, guess: Floats) -> float:
        return float(np.abs(self.original[self.masked] - guess).mean())


def write_infilling(path: Path, infilling: Infilling) -> None:
    """Write an .npz in one step."""
    content = {field.name: getattr(infilling, field.name) for field in fields(infilling)}
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, **content)


def read_infilling(path: Path) -> Infilling:
    """Read what `write_infilling` wrote; nothing in the file is executed.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            found = {field.name: content[field.name] for field in fields(Infilling)}
        return Infilling(**{**found, "frame_rate": float(found["frame_rate"])})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}): remove it and evaluate again") from None
