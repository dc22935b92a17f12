"""Sound and pictures of an utterance, where fairseq records numbers: TensorBoard and W&B.

The task calls it at each validation, on rank 0 alone. Whatever fails here is logged once and ends
the recording, never the training.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..utils.distributed import is_first_rank
from .recording import Recording, record_utterance

logger = logging.getLogger(__name__)
_BAR = "fairseq.logging.progress_bar"
_NAME = "reconstruction"

Sink = Callable[[Recording, int, int], None]  # what, the sample rate, the number of updates


class ReconstructionRecorder:
    """Records what a model makes of one validation utterance, as often as it is called."""

    def __init__(self) -> None:
        self.failed = False
        self._writer: Any = None

    def observe(self, model: Any, datasets: Iterable[Any], sample_rate: int) -> None:
        """Record at a validation, on rank 0, of the first of the datasets that is validated."""
        validated = next((dataset for dataset in datasets if not dataset.shuffle), None)
        if validated is not None and is_first_rank():
            self.record(model, validated, sample_rate, model.mask_update)

    def record(self, model: Any, dataset: Any, sample_rate: int, update: int) -> None:
        """Rebuild the dataset's first utterance that can be read, and record it.

        Nothing happens where the training records nowhere, or where it has neither the sample nor
        the frame objective.

        Args:
            model: an MGF; its mode is restored.
            dataset: of a split that is validated.
            sample_rate: Hz.
            update: the number of updates so far.
        """
        if self.failed:
            return
        training = model.training
        try:
            sinks = [sink for sink in (self._tensorboard(), _wandb()) if sink]
            if not sinks:
                return
            model.eval()  # no dropout: it would draw random numbers of the training
            recording = record_utterance(model, dataset)
            for sink in sinks if recording.images else ():
                sink(recording, sample_rate, update)
        except Exception as error:  # noqa: BLE001 (a full disk, a network, a library: all the same)
            self.failed = True
            logger.warning(
                "reconstructions are not recorded any more: %s: %s",
                type(error).__name__,
                " ".join(str(error).split())[:200],
            )
        finally:
            model.train(training)

    def _tensorboard(self) -> Sink | None:
        """The sink beside fairseq's own writers, if it has any by now."""
        bar = sys.modules.get(_BAR)
        writers = getattr(bar, "_tensorboard_writers", None)
        if not writers:
            return None

        def record(recording: Recording, rate: int, update: int) -> None:
            if self._writer is None:
                beside = next(iter(writers.values()))
                folder = os.path.join(os.path.dirname(beside.logdir or beside.log_dir), _NAME)
                self._writer = type(beside)(folder)
            for name, signal in recording.sounds.items():
                self._writer.add_audio(name, signal[:, None], update, sample_rate=rate)
            for name, image in recording.images.items():
                self._writer.add_image(name, image, update, dataformats="HWC")
            self._writer.flush()

        return record


def _wandb() -> Sink | None:
    """The sink of the run that fairseq has begun, if it has."""
    wandb = sys.modules.get("wandb")
    if wandb is None or getattr(wandb, "run", None) is None:
        return None

    def record(recording: Recording, rate: int, update: int) -> None:
        content: dict[str, Any] = {
            name: wandb.Audio(signal, sample_rate=rate) for name, signal in recording.sounds.items()
        }
        content |= {name: wandb.Image(image) for name, image in recording.images.items()}
        wandb.log({f"{_NAME}/{name}": item for name, item in content.items()}, step=update)

    return record
