"""Sound and spectrograms of a reconstruction, where fairseq records numbers: TensorBoard and W&B.

The task calls it at each validation, on rank 0 alone. Whatever fails here is logged once and ends
the recording, never the training.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..objectives.decoding import decode_waveform
from ..objectives.sample import SampleObjective
from ..utils.distributed import is_first_rank

logger = logging.getLogger(__name__)
_BAR = "fairseq.logging.progress_bar"
_NAME = "reconstruction"
_DYNAMIC_DB = 70.0  # range of the picture below its loudest place
_WINDOW, _HOP = 512, 128  # samples
_HEADROOM = 0.95  # of full scale

Signal = npt.NDArray[np.float32]
Record = Callable[[dict[str, Signal], npt.NDArray[np.uint8], int, int], None]


class ReconstructionRecorder:
    """Records what the decoder makes of one validation utterance, as often as it is called."""

    def __init__(self) -> None:
        self.failed = False
        self._writer: Any = None

    def observe(self, model: Any, datasets: Iterable[Any], sample_rate: int) -> None:
        """Record at a validation, on rank 0, of the first of the datasets that is validated."""
        validated = next((dataset for dataset in datasets if not dataset.shuffle), None)
        if validated is not None and is_first_rank():
            self.record(model, validated, sample_rate, model.mask_update)

    def record(self, model: Any, dataset: Any, sample_rate: int, update: int) -> None:
        """Decode the dataset's first utterance that can be read, and record it.

        Nothing happens where the training records nowhere, or has no sample objective.

        Args:
            model: an MGF; its mode is restored.
            dataset: of a split that is validated.
            sample_rate: Hz.
            update: the number of updates so far.
        """
        objective = dict(model.objectives or {}).get("sample")
        if self.failed or not isinstance(objective, SampleObjective):
            return
        training = model.training
        try:
            sinks = [sink for sink in (self._tensorboard(), _wandb()) if sink]
            if not sinks:
                return
            model.eval()  # no dropout: it would draw random numbers of the training
            signals = _signals(model, objective, dataset)
            for sink in sinks if signals else ():
                sink(signals, picture(signals), sample_rate, update)
        except Exception as error:  # noqa: BLE001 (a full disk, a network, a library: all the same)
            self.failed = True
            logger.warning(
                "reconstructions are not recorded any more: %s: %s",
                type(error).__name__,
                " ".join(str(error).split())[:200],
            )
        finally:
            model.train(training)

    def _tensorboard(self) -> Record | None:
        """The sink beside fairseq's own writers, if it has any by now."""
        bar = sys.modules.get(_BAR)
        writers = getattr(bar, "_tensorboard_writers", None)
        if not writers:
            return None
        if self._writer is None:
            beside = next(iter(writers.values()))
            folder = os.path.join(os.path.dirname(beside.logdir or beside.log_dir), _NAME)
            self._writer = type(beside)(folder)

        def record(
            signals: dict[str, Signal], image: npt.NDArray[np.uint8], rate: int, update: int
        ) -> None:
            for name, signal in signals.items():
                self._writer.add_audio(name, signal[:, None], update, sample_rate=rate)
            self._writer.add_image("spectrograms", image, update, dataformats="HWC")
            self._writer.flush()

        return record


def _wandb() -> Record | None:
    """The sink of the run that fairseq has begun, if it has."""
    wandb = sys.modules.get("wandb")
    if wandb is None or getattr(wandb, "run", None) is None:
        return None

    def record(
        signals: dict[str, Signal], image: npt.NDArray[np.uint8], rate: int, update: int
    ) -> None:
        content = {
            f"{_NAME}/{name}": wandb.Audio(signal, sample_rate=rate)
            for name, signal in signals.items()
        }
        wandb.log({**content, f"{_NAME}/spectrograms": wandb.Image(image)}, step=update)

    return record


def _signals(model: Any, objective: SampleObjective, dataset: Any) -> dict[str, Signal]:
    """Both signals on one scale within -1 to 1; none where no utterance can be read."""
    views = next((views for row in range(len(dataset)) if (views := dataset[row]["views"])), None)
    if views is None:
        return {}
    parameter = next(model.parameters())
    waveform = views[0].to(parameter.device, parameter.dtype)
    original, decoded = decode_waveform(model, objective, waveform)
    loudest = torch.stack([original.abs().max(), decoded.abs().max()]).max().clamp(min=1e-9)
    named = {"original": original, "decoded": decoded}
    return {
        name: (signal / loudest * _HEADROOM).float().cpu().numpy() for name, signal in named.items()
    }


def picture(signals: dict[str, Signal]) -> npt.NDArray[np.uint8]:
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
        levels.append(10 * np.log10(power + 1e-10).T[::-1])
    top = levels[0].max()
    gray = [np.clip((x - top + _DYNAMIC_DB) / _DYNAMIC_DB, 0, 1) * 255 for x in levels]
    gap = np.full((4, gray[0].shape[1]), 128.0)
    rows = [part for level in gray for part in (level, gap)][:-1]
    image = np.concatenate(rows).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2)
