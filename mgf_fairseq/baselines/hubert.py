"""Task ``mgf_hubert``: fairseq's own ``hubert`` on MGF's data, with the units of ``mgf units``.

What is MGF's is in task.py; model and criterion are fairseq's, without a change. Read here: the
unit of each frame of a crop, by the crop's place in its utterance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq.data import Dictionary
from fairseq.tasks import register_task
from torch import Tensor

from ..data.config import MgfPretrainingConfig
from ..data.label_lines import read_label_lines
from ..data.manifest import read_manifest
from ..types import HostRows
from .task import BaselineTask, waveform_of

_TOLERATED = 2  # units by which the end of an utterance may be off: rounding, and the last frame


class BaselineUnitsError(ValueError):
    """The units do not fit the audio; the message names the file and the fix."""


@dataclass
class HubertBaselineConfig(MgfPretrainingConfig):
    """As ``mgf_pretraining``, and where the units are."""

    units: str = field(
        default="${task.data}/units",
        metadata={"help": "folder of `mgf units`: <split>.tsv, <split>.km, dict.km.txt"},
    )
    label_rate: float = field(default=50.0, metadata={"help": "units per second"})


@register_task("mgf_hubert", dataclass=HubertBaselineConfig)
class HubertBaselineTask(BaselineTask):
    """BaselineTask that hands over what ``HubertModel.forward`` and its criterion take."""

    cfg: HubertBaselineConfig
    trained = "fairseq's hubert"

    def __init__(self, cfg: HubertBaselineConfig) -> None:
        super().__init__(cfg)
        if cfg.corpora:
            raise ValueError("task.corpora: units are of one folder; set task.data to one corpus")
        if cfg.augment.speed_prob > 0:
            raise ValueError(
                "task.augment.speed_prob moves frames away from their units; set it to 0"
            )
        self.units: dict[str, npt.NDArray[np.int64]] = {}  # by entry of the manifest
        self.state.add_factory("dictionaries", self._read_dictionaries)  # into checkpoints, too

    @property
    def dictionaries(self) -> list[Dictionary]:
        """The one dictionary of units, as ``HubertModel`` asks for it."""
        found: list[Dictionary] = self.state.dictionaries
        return found

    def _read_dictionaries(self) -> list[Dictionary]:
        path = Path(self.cfg.units) / "dict.km.txt"
        if not path.is_file():
            raise BaselineUnitsError(f"{path} does not exist: {self._fix()}")
        return [Dictionary.load(str(path))]

    def _fix(self) -> str:
        return (
            f"make units with 'mgf units --checkpoint mfcc --manifest {self.cfg.data}/train.tsv "
            f"{self.cfg.data}/valid.tsv --dest {self.cfg.units}'"
        )

    def load_dataset(self, split: str, **options: Any) -> None:
        """Read a split and the units of each of its utterances.

        Raises:
            ManifestError: a manifest cannot be used, or there are more or fewer lines of units.
            BaselineUnitsError: an utterance has no units, or too few or too many.
        """
        super().load_dataset(split, **options)
        path = Path(self.cfg.units) / f"{split}.km"
        if not path.is_file():
            raise BaselineUnitsError(f"{path} does not exist: {self._fix()}")
        manifest = read_manifest(tsv := path.with_suffix(".tsv"))
        lines = read_label_lines(tsv, "km", len(manifest), self._fix())
        of_split = {os.path.abspath(manifest.entry(n)): line for n, line in enumerate(lines)}
        dataset = self.datasets[split]
        for line in dataset.lines.tolist():
            entry = dataset.manifest.entry(line)
            found = of_split.get(os.path.abspath(entry), "")
            self.units[entry] = self._numbers(found, path)
            samples = int(dataset.manifest.num_samples[line])
            asked = samples * self.cfg.label_rate / self.cfg.sample_rate
            if abs(len(self.units[entry]) - asked) > _TOLERATED:
                raise BaselineUnitsError(
                    f"{path}: {len(self.units[entry])} units for {entry}, of {asked:.0f} frames at "
                    f"task.label_rate={self.cfg.label_rate:g}; {self._fix()}"
                )

    def _numbers(self, line: str, path: Path) -> npt.NDArray[np.int64]:
        """Units as numbers of the dictionary."""
        dictionary = self.dictionaries[0]
        numbers = np.array([dictionary.index(unit) for unit in line.split()], np.int64)
        if (numbers == dictionary.unk()).any():
            raise BaselineUnitsError(f"{path}: a unit is not in dict.km.txt; {self._fix()}")
        return numbers

    def batch_for(self, sample: dict[str, Any], model: Any) -> dict[str, Any]:
        """Reduce one of our batches to the inputs of ``HubertModel.forward``, and add targets."""
        inputs = sample["net_input"]
        source = waveform_of(sample, model)
        targets = self.targets(sample["entries"], inputs["rows"], source.shape[1])
        return {
            **sample,
            "net_input": {"source": source, "padding_mask": inputs["padding_mask"]},
            "target_list": [targets.to(source.device)],
        }

    def targets(self, entries: Sequence[str], rows: HostRows, num_samples: int) -> Tensor:
        """Give each frame of a batch its unit: (B, T) int64 for rows of S samples.

        A crop begins anywhere, so its frames take the units whose frames begin nearest. T may be
        more than the encoder has; ``HubertModel`` takes the first. No loss reads those of padding.
        """
        rate = self.cfg.label_rate / self.cfg.sample_rate
        frames = np.arange(int(num_samples * rate))
        found = []
        for entry, start in zip(entries, rows.starts, strict=True):
            units = self.units[entry]
            found.append(units[np.minimum(round(start * rate) + frames, len(units) - 1)])
        return torch.from_numpy(np.stack(found))
