"""Utterance scale, discriminative: do two segments come from the same utterance?

Each view is pooled to one embedding and distinguished from the other utterances' views in the
batch, on all ranks (abstract of arXiv 2102.01930; relatives are LIM and GIM in PASE, Ravanelli &
Bengio 2019). Pooling, projection and form of the loss are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..losses.contrastive import pairwise_discrimination
from ..losses.precision import at_least_fp32
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from ..utils.distributed import gather_rows
from ..utils.transfer import to_device
from .base import Objective, register_objective
from .config import ObjectiveConfig
from .diversity import diversity
from .heads import AttentiveStatisticsPooling, MeanPooling, ProjectionHead
from .levels import level_dim, read_level, select_frames


@dataclass
class UtteranceConfig(ObjectiveConfig):
    """Pooling over time and the discrimination of pairs."""

    level: str = field(default="context", metadata={"help": "level that is pooled"})
    pooling: str = field(default="statistics", metadata={"help": "statistics (attentive) or mean"})
    final_dim: int = field(default=128, metadata={"help": "width of an utterance embedding"})
    kind: str = field(default="info_nce", metadata={"help": "info_nce or binary"})
    logit_temp: float = field(default=0.1, metadata={"help": "temperature of the logits"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("pooling", ("statistics", "mean"))
        self.require("kind", ("info_nce", "binary"))
        self.require_positive("final_dim", "logit_temp")


@register_objective
class UtteranceObjective(Objective[UtteranceConfig]):
    """Same-utterance discrimination with the other utterances of all ranks as negatives."""

    name = "utterance"
    config_type = UtteranceConfig
    min_views = 2

    def __init__(self, config: UtteranceConfig, shape: EncoderShape) -> None:
        super().__init__(config, shape)
        dim = level_dim(self.level, shape)
        if config.pooling == "mean":
            self.pooling: MeanPooling | AttentiveStatisticsPooling = MeanPooling(dim)
        else:
            self.pooling = AttentiveStatisticsPooling(dim, config.final_dim)
        self.head = ProjectionHead(self.pooling.output_dim, config.final_dim)

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Sum over rows; report retrieval accuracy beside its chance level."""
        embeddings, group = self.embed(encoded), batch.utterance
        counted = _counted_rows(batch)
        if counted is not None:
            embeddings, group = embeddings[counted], group[counted]
        gathered = gather_rows(embeddings, group)
        # What all rows have in common does not help to separate them. At first it is nearly
        # everything: without the subtraction all cosines are near one and gradients near zero.
        center = gathered.rows.sum(dim=0) / max(len(gathered.rows), 1)
        loss_sum, count, correct, chance = pairwise_discrimination(
            embeddings - center,
            group,
            self.config.kind,
            logit_scale=1.0 / self.config.logit_temp,
            gathered_embeddings=gathered.rows - center,
            gathered_group=gathered.keys,
            offset=gathered.offset,
        )
        metrics = {
            "accuracy": (correct, count),
            "chance": (chance, count),
            "diversity": diversity(embeddings),
        }
        return ObjectiveOutput(loss_sum, count, metrics)

    def embed(self, encoded: EncoderOutput) -> Tensor:
        """Embed each row: (B, final_dim)."""
        ignored = ~select_frames(encoded, self.config.frames)
        empty = ignored.all(dim=1, keepdim=True)  # such a row falls back to its valid frames
        ignored = torch.where(empty, encoded.padding_mask, ignored)
        pooled = self.pooling(read_level(encoded, self.level), ignored)
        # B rows cost nothing in fp32, and the loss takes small differences of them.
        with torch.autocast(pooled.device.type, enabled=False):
            return at_least_fp32(self.head(pooled))


def _counted_rows(batch: Batch) -> Tensor | None:
    """Say which rows count: their numbers where the host knows them, None where all do."""
    if batch.rows is None:
        return batch.utterance >= 0
    counted = batch.rows.counted
    if len(counted) == len(batch.utterance):
        return None
    return to_device(np.asarray(counted, dtype=np.int64), batch.utterance.device)
