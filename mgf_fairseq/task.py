"""Task ``mgf_pretraining``: manifests to datasets, under the settings that checkpoints carry.

Owns no tensors; fine-tuning builds it again from a checkpoint to build the model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING

from .data.dataset import Crops, MgfDataset, require_some_files
from .data.manifest import ManifestError, read_manifest

AUTOCAST = {"none": None, "bf16": torch.bfloat16}


@dataclass
class MgfPretrainingConfig(FairseqDataclass):
    """Where the data lies and how utterances become rows."""

    data: str = field(default=MISSING, metadata={"help": "folder of <split>.tsv manifests"})
    sample_rate: int = field(
        default=16_000, metadata={"help": "Hz; files of another rate are resampled on reading"}
    )
    normalize: bool = field(default=True, metadata={"help": "zero mean and unit variance per view"})
    views: int = field(
        default=2, metadata={"help": "crops per utterance; the utterance objective needs two"}
    )
    max_sample_size: int = field(default=160_000, metadata={"help": "longest crop, in samples"})
    min_sample_size: int = field(
        default=8_000, metadata={"help": "utterances shorter than this many samples are dropped"}
    )
    num_buckets: int = field(
        default=16, metadata={"help": "length buckets that batches are drawn from; 0: by length"}
    )
    autocast: str = field(
        default="none", metadata={"help": "none, or bf16: compute in bf16 over fp32 weights"}
    )
    rebuild_batches: bool = field(
        default=True, metadata={"help": "draw new batches for every epoch"}
    )
    seed: int = II("common.seed")


@register_task("mgf_pretraining", dataclass=MgfPretrainingConfig)
class MgfPretrainingTask(FairseqTask):
    """Pre-training on raw audio."""

    cfg: MgfPretrainingConfig

    def __init__(self, cfg: MgfPretrainingConfig) -> None:
        super().__init__(cfg)
        if cfg.autocast not in AUTOCAST:
            raise ValueError(f"task.autocast={cfg.autocast!r} is none of {', '.join(AUTOCAST)}")
        self.objective_names: tuple[str, ...] = ()

    @classmethod
    def setup_task(cls, cfg: MgfPretrainingConfig, **_: Any) -> MgfPretrainingTask:
        """Build the task as fairseq asks for it."""
        return cls(cfg)

    def load_dataset(self, split: str, **_: Any) -> None:
        """Read ``<data>/<split>.tsv``.

        Raises:
            ManifestError: the manifest is missing, malformed or without a long enough utterance.
            ValueError: the audio is not where the manifest says.
        """
        path = os.path.join(self.cfg.data, f"{split}.tsv")
        manifest = read_manifest(path)
        require_some_files(manifest, path)
        crops = Crops(self.cfg.views, self.cfg.max_sample_size, self.cfg.min_sample_size)
        dataset = MgfDataset(
            manifest,
            crops,
            sample_rate=self.cfg.sample_rate,
            normalize=self.cfg.normalize,
            shuffle=split.startswith("train"),
            seed=self.cfg.seed,
            num_buckets=self.cfg.num_buckets,
        )
        if len(dataset) == 0:
            raise ManifestError(
                f"{path}: all {len(manifest)} utterances are shorter than "
                f"task.min_sample_size={self.cfg.min_sample_size} samples; lower it"
            )
        self.datasets[split] = dataset

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model and remember which objectives it has, for the criterion's weights."""
        model = super().build_model(cfg, from_checkpoint)
        self.objective_names = tuple(model.objectives)
        return model

    def train_step(
        self,
        sample: dict[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> Any:
        """Run one step, under bf16 autocast if asked for."""
        if ignore_grad:
            sample = _without_weight(sample)
        dtype = AUTOCAST[self.cfg.autocast]
        device = sample["net_input"]["source"].device.type
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def max_positions(self) -> None:
        """Accept any length: crops are cut to ``max_sample_size``."""


def _without_weight(sample: dict[str, Any]) -> dict[str, Any]:
    """Mark a batch that a rank runs only to keep step with the others: it counts for nothing."""
    net_input = dict(sample["net_input"])
    net_input["utterance"] = torch.full_like(net_input["utterance"], -1)
    return {**sample, "net_input": net_input, "ignore": True}
