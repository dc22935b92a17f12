"""What a training records of one validation utterance: its sound and pictures of it.

The sample objective decodes it; the frame objective fills in its masked stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..acoustics.normalization import unit_variance
from ..objectives.decoding import decode_waveform
from ..objectives.frame import FrameObjective
from ..objectives.infilling import Filled, fill_in
from ..objectives.sample import SampleObjective

_DYNAMIC_DB = 70.0  # range of a picture below its loudest place
_WINDOW, _HOP = 512, 128  # samples
_HEADROOM = 0.95  # of full scale
_GAP, _MASKED = (128, 128, 128), (64, 96, 160)  # colors: between panels, and where nothing is heard
_ENLARGED = 3  # pixels, in either direction, of a frame in a mel bin

Signal = npt.NDArray[np.float32]
Levels = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]


@dataclass
class Recording:
    """Sounds (S,) within -1 to 1 and pictures (H, W, 3), by name."""

    sounds: dict[str, Signal] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)


def record_utterance(model: Any, dataset: Any) -> Recording:
    """Rebuild the dataset's first utterance that can be read.

    Args:
        model: an MGF in evaluation mode.
        dataset: of a split that is validated.

    Returns:
        what its objectives can rebuild, which may be nothing.
    """
    found = Recording()
    objectives = dict(model.objectives or {}).values()
    views = next((views for row in range(len(dataset)) if (views := dataset[row]["views"])), None)
    if views is None:
        return found
    parameter = next(model.parameters())
    heard = views[0].to(parameter.device, parameter.dtype)
    for objective in objectives:
        if isinstance(objective, SampleObjective):
            found.sounds = _on_one_scale(*decode_waveform(model, objective, heard))
            found.images["spectrograms"] = picture(found.sounds)
        elif isinstance(objective, FrameObjective):
            filled = fill_in(model, objective, heard, unit_variance(heard.float()))
            if filled is not None:
                found.images["filled_in"] = filled_picture(filled)
    return found


def _on_one_scale(original: Tensor, decoded: Tensor) -> dict[str, Signal]:
    loudest = torch.stack([original.abs().max(), decoded.abs().max()]).max().clamp(min=1e-9)
    named = {"original": original, "decoded": decoded}
    return {
        name: (signal / loudest * _HEADROOM).float().cpu().numpy() for name, signal in named.items()
    }


def picture(signals: dict[str, Signal]) -> Image:
    """Draw spectrograms one below the other, on one scale: (H, W, 3), loud is bright, low is below.

    Args:
        signals: (S,) each, of one length; the first one's loudest place is white.
    """
    window = np.hanning(_WINDOW)
    levels = []
    for signal in signals.values():
        padded = np.pad(signal, (0, max(_WINDOW - len(signal), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(frames * window)) ** 2  # (T, F)
        levels.append(10 * np.log10(power + 1e-10).T)
    return _stacked(levels)


def filled_picture(filled: Filled) -> Image:
    """Draw log-mel as it is, as the encoder heard it (masked frames in blue), and filled in."""
    original, completed = filled.original.cpu().numpy(), filled.filled.cpu().numpy()
    heard = np.where(filled.masked.cpu().numpy()[:, None], np.nan, original)
    image = _stacked([levels.T for levels in (original, heard, completed)])
    return image.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)


def _stacked(panels: Sequence[Levels]) -> Image:
    """(F, T) each in dB, NaN where nothing is heard -> (H, W, 3), the first on top."""
    top = panels[0].max()
    rows: list[Image] = []
    for panel in panels:
        flipped = panel[::-1, :, None]
        gray = np.clip((flipped - top + _DYNAMIC_DB) / _DYNAMIC_DB, 0, 1) * 255
        rows.append(np.where(np.isnan(flipped), _MASKED, np.nan_to_num(gray)).astype(np.uint8))
        rows.append(np.broadcast_to(np.array(_GAP, np.uint8), (4, panel.shape[1], 3)))
    return np.concatenate(rows[:-1])
