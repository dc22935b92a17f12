"""Phoneme scale, discriminative: tell a masked frame's latent from other latents.

A masked language model for a continuous signal whose classification loss is replaced by a
contrastive loss (abstract of arXiv 2102.01930); the form is that of wav2vec 2.0 (Baevski et al.
2020) without a quantiser, which is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import draws
from ..decoders import ProjectionHead
from ..losses import info_nce_pool
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from .base import (
    Objective,
    ObjectiveConfig,
    level_dim,
    read_level,
    register_objective,
    select_frames,
)


@dataclass
class PhonemeConfig(ObjectiveConfig):
    """InfoNCE over masked frames."""

    level: str = field(default="context", metadata={"help": "level the queries read"})
    frames: str = field(default="masked", metadata={"help": "only masked frames are asked for"})
    final_dim: int = field(default=256, metadata={"help": "width in which latents are compared"})
    num_negatives: int = field(default=100, metadata={"help": "from the same row"})
    cross_sample_negatives: int = field(default=0, metadata={"help": "from other rows"})
    logit_temp: float = field(default=0.1, metadata={"help": "temperature of the logits"})
    target_gradient: bool = field(
        default=True,
        metadata={"help": "train the conv stack through the targets too, as wav2vec 2.0 does"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("frames", ("masked",))
        self.require_positive("final_dim", "logit_temp")
        self.require_positive("num_negatives")
        if self.cross_sample_negatives < 0:
            raise ValueError(f"cross_sample_negatives={self.cross_sample_negatives} is negative")


@register_objective
class PhonemeObjective(Objective):
    """InfoNCE of context at masked frames against projected latents (wav2vec 2.0, eq. 3)."""

    name = "phoneme"
    config_type = PhonemeConfig

    def __init__(self, config: PhonemeConfig, shape: EncoderShape) -> None:
        super().__init__(config, shape)
        self.query_head = ProjectionHead(level_dim(self.level, shape), config.final_dim)
        self.target_head = ProjectionHead(shape.latent_dim, config.final_dim)

    def target(self, encoded: EncoderOutput, batch: Batch) -> Tensor:
        """Say which masked frame stands against which: (M, N) indices into the M masked frames."""
        masked = select_frames(encoded, "masked")
        row = masked.nonzero()[:, 0]  # (M,)
        per_row = masked.sum(dim=1)  # (B,)
        first = per_row.cumsum(0)[row] - per_row[row]  # (M,) where the frame's row begins
        size = per_row[row]
        place = torch.arange(len(row), device=row.device) - first  # (M,) position in its row
        key = draws.combine(draws.combine(batch.row_id, batch.draw)[row], place)
        near, far = self.config.num_negatives, self.config.cross_sample_negatives
        share = draws.uniform(key, near + far)
        # Steps of 1 .. size - 1 around the own row, so that a frame never meets itself.
        step = 1 + (share[:, :near] * (size - 1).clamp(min=1)[:, None]).long()
        own = first[:, None] + (place[:, None] + step) % size[:, None]
        # Steps that begin behind the own row and end before it.
        outside = (len(row) - size).clamp(min=1)[:, None]
        step = size[:, None] + (share[:, near:] * outside).long()
        other = (first[:, None] + step) % max(len(row), 1)
        return torch.cat([own, other], dim=1)

    def predict(self, encoded: EncoderOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """Project queries and latents of the masked frames: both (M, final_dim)."""
        masked = select_frames(encoded, "masked")
        latents = encoded.latents[masked]
        if not self.config.target_gradient:
            latents = latents.detach()
        queries = self.query_head(read_level(encoded, self.level)[masked])
        return queries, self.target_head(latents)

    def compare(
        self,
        prediction: tuple[Tensor, Tensor],
        target: Tensor,
        encoded: EncoderOutput,
        batch: Batch,
    ) -> ObjectiveOutput:
        """Sum the cross-entropy over masked frames; report accuracy, chance and diversity."""
        queries, latents = prediction
        # A frame alone in its row (or a batch of one row) has no such negative: it meets itself,
        # and info_nce_pool leaves out negatives that equal the positive.
        loss_sum, count, correct = info_nce_pool(
            queries, latents, latents, target, self.config.logit_temp
        )
        metrics = {
            "accuracy": (correct, count),
            "chance": (count / (1 + target.shape[1]), count),
            "diversity": diversity(latents),
        }
        return ObjectiveOutput(loss_sum, count, metrics)


def diversity(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far (M, D) vectors point in different directions: (sum, M).

    One minus the squared length of the mean unit vector, which is one minus the mean cosine of
    all pairs: 0 where all are equal (collapse), near 1 where they spread.
    """
    count = vectors.new_tensor(float(len(vectors)), dtype=torch.float32)
    if len(vectors) == 0:
        return count, count
    mean = F.normalize(vectors.detach().float(), dim=1).mean(dim=0)
    return (1.0 - mean.square().sum()) * count, count
