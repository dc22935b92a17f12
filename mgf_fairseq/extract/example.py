"""One utterance, with the model and the objective that rebuild it: what pictures are made of.

`reconstruct.py` and `infill.py` load it, so that both show the same utterance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..acoustics.normalization import unit_variance
from ..data.audio import AudioError, AudioReader
from ..data.entries import ManifestError
from ..data.manifest import read_manifest
from ..model import MgfModel
from ..objectives.base import Objective
from .pretrained import load_pretrained

Signal = npt.NDArray[np.float32]
ObjectiveT = TypeVar("ObjectiveT", bound=Objective[Any])


@dataclass(frozen=True)
class Example(Generic[ObjectiveT]):
    """An utterance, and what rebuilds it."""

    model: MgfModel  # in evaluation mode
    objective: ObjectiveT
    signal: Signal  # (S,)
    sample_rate: int
    normalize: bool  # the model is given waveforms at unit variance

    @property
    def heard(self) -> Tensor:
        """What the model is given: (S,)."""
        waveform = torch.from_numpy(self.signal)
        return unit_variance(waveform) if self.normalize else waveform


def load_example(
    checkpoint: Path | str, manifest: Path | str, kind: type[ObjectiveT], seconds: float
) -> Example[ObjectiveT] | None:
    """Load one objective of a checkpoint, and the beginning of a manifest's longest utterance.

    Args:
        checkpoint: a pre-trained MGF, or the folder of its run.
        manifest: whose longest utterance is read, of those that can be read and hold a frame.
        kind: of objective.
        seconds: how much of the utterance.

    Returns:
        None where the checkpoint has no such objective, or nothing can be read.

    Raises:
        CheckpointError: it is not a pre-trained MGF.
        ValueError: so few seconds hold no frame.
    """
    model, config = load_pretrained(checkpoint, [kind.name])
    if model.objectives is None or kind.name not in model.objectives:
        return None
    objective = model.objectives[kind.name]
    assert isinstance(objective, kind)
    rate = int(config.task.sample_rate)
    most, least = int(seconds * rate), model.shape.receptive_field
    if most < least:
        raise ValueError(f"seconds={seconds} are {most} samples, fewer than the {least} of a frame")
    signal = _longest_readable(manifest, rate, most, least)
    if signal is None:
        return None
    return Example(model, objective, signal, rate, bool(config.task.normalize))


def _longest_readable(manifest: Path | str, rate: int, most: int, least: int) -> Signal | None:
    """At most the first `most` samples of the longest utterance that holds `least` of them."""
    table = read_manifest(manifest)
    for row in np.argsort(-table.num_samples, kind="stable").tolist():
        try:
            with AudioReader(table.entry(row), rate) as reader:
                signal = reader.read(0, min(reader.num_samples, most))
        except (AudioError, ManifestError):
            continue
        if len(signal) >= least:
            return signal
    return None
