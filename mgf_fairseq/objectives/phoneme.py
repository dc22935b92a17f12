"""Phoneme scale, discriminative: find the frame that a query belongs to among other frames.

A masked language model for a continuous signal whose classification loss is replaced by a
contrastive loss (abstract of arXiv 2102.01930). Everything else is our choice. Two forms:

* of wav2vec 2.0 (Baevski et al. 2020), the default of this class: masked frames against their
  latents through a projection, negatives drawn from the row; without a quantizer.
* against acoustic windows, the default of the recipes: all frames, visible ones too, against MFCCs
  of a stretch as long as a phoneme (``offsets``), normalized per row; negatives are all other
  frames of the row. Reasons: a learned target may collapse, and it duplicated the frame scale; one
  frame is shorter than a phoneme; what all frames of a row have in common separates none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..acoustics.features import AcousticFeatures
from ..losses.contrastive import Contrast, contrast_pool, contrast_rows
from ..losses.reconstruction import smooth_l1
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from ..utils import rng
from .base import Objective, register_objective
from .config import ObjectiveConfig
from .diversity import diversity
from .heads import ProjectionHead
from .levels import level_dim, place_selected, read_level, select_frames, take_frames


@dataclass
class PhonemeConfig(ObjectiveConfig):
    """What the target is, and which negatives it is distinguished from."""

    level: str = field(default="context", metadata={"help": "level the queries read"})
    frames: str = field(default="masked", metadata={"help": "frames asked for: masked or all"})
    target: str = field(
        default="latents",
        metadata={"help": "latents (learned), or mfcc or mel normalized per row"},
    )
    offsets: tuple[int, ...] = field(
        default=(0,),
        metadata={"help": "frames of a target, from the frame asked for, as in [-6,-3,0,3,6]"},
    )
    kind: str = field(
        default="contrast",
        metadata={"help": "contrast, or regression: predict the window by smooth L1"},
    )
    final_dim: int = field(default=256, metadata={"help": "width in which targets are compared"})
    num_negatives: int = field(
        default=100,
        metadata={"help": "drawn from the asked frames of the row; 0: all other frames of the row"},
    )
    cross_sample_negatives: int = field(default=0, metadata={"help": "drawn from other rows"})
    logit_temp: float = field(default=0.1, metadata={"help": "temperature of the logits"})
    target_gradient: bool = field(
        default=True,
        metadata={"help": "train the conv stack through latents as targets, as wav2vec 2.0 does"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("frames", ("masked", "all"))
        self.require("target", ("latents", "mfcc", "mel"))
        self.require("kind", ("contrast", "regression"))
        self.require_positive("final_dim", "logit_temp")
        for name in ("num_negatives", "cross_sample_negatives"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if not self.offsets or len(set(self.offsets)) < len(self.offsets):
            raise ValueError(f"offsets={list(self.offsets)} must be frames, each of them once")
        if self.cross_sample_negatives and not self.num_negatives:
            raise ValueError(
                "cross_sample_negatives are drawn beside num_negatives; with num_negatives=0, all "
                "other frames of the row, there are none"
            )
        if self.kind == "regression" and self.target == "latents":
            raise ValueError("kind=regression needs target=mfcc or mel: latents would collapse")


def windows(values: Tensor, num_frames: Tensor, offsets: Sequence[int]) -> Tensor:
    """Put the frames around each frame side by side: (B, T, F) -> (B, T, F * len(offsets)).

    num_frames (B,). The first and last valid frames are repeated outwards, as for deltas, so that
    padding never counts and no window shows where the row ends.
    """
    rows, width, bins = values.shape
    last = (num_frames - 1).clamp(min=0)[:, None]  # (B, 1)
    frame = torch.arange(width, device=values.device)
    shifted = [
        values.gather(
            1, torch.minimum((frame + by).clamp(min=0), last)[..., None].expand(rows, width, bins)
        )
        for by in offsets
    ]
    return torch.cat(shifted, dim=2)


@register_objective
class PhonemeObjective(Objective[PhonemeConfig]):
    """InfoNCE of a level against targets of the same frame (wav2vec 2.0, eq. 3), or regression."""

    name = "phoneme"
    config_type = PhonemeConfig

    def __init__(self, config: PhonemeConfig, shape: EncoderShape) -> None:
        super().__init__(config, shape)
        self.features: AcousticFeatures | None = None
        bins = shape.latent_dim
        if config.target != "latents":
            self.features = AcousticFeatures(
                (config.target,),
                sample_rate=shape.sample_rate,
                hop_length=shape.hop_length,
                receptive_field=shape.receptive_field,
                n_fft=shape.receptive_field // 2 * 2,
                normalization="utterance",  # a row is what is normalized
            )
            bins = self.features.dims[config.target]
        width, dim = bins * len(config.offsets), level_dim(self.level, shape)
        regresses = config.kind == "regression"
        self.query_head = ProjectionHead(dim, width if regresses else config.final_dim)
        self.target_head: ProjectionHead | None = None
        if not regresses:
            self.target_head = ProjectionHead(width, config.final_dim)

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Sum the loss over the asked frames; report accuracy, chance levels and diversity."""
        asked = select_frames(encoded, self.config.frames)
        index = place_selected(encoded, self.config.frames)  # (M,)
        level = read_level(encoded, self.level)
        target = self.target_windows(encoded, batch)
        if self.target_head is None:
            predicted = self.query_head(take_frames(level, index))
            return _regress(predicted, take_frames(target, index))
        temperature = self.config.logit_temp
        if self.config.num_negatives:
            queries = self.query_head(take_frames(level, index))
            keys = self.target_head(take_frames(target, index))
            negatives, valid = self.draw_negatives(asked, batch, index)
            found = contrast_pool(queries, keys, keys, negatives, temperature, valid)
            return _output(found, keys)
        queries, keys = self.query_head(level), self.target_head(target)
        found = contrast_rows(queries, keys, asked, ~encoded.padding_mask, temperature, index)
        return _output(found, take_frames(keys, index))

    def target_windows(self, encoded: EncoderOutput, batch: Batch) -> Tensor:
        """Make what each frame is compared with: (B, T, W); only latents may get a gradient."""
        if self.features is None:
            values = encoded.latents if self.config.target_gradient else encoded.latents.detach()
        else:
            valid = ~encoded.padding_mask
            features = self.features(
                batch.waveform, batch.padding_mask, valid.shape[1], valid, batch.shared
            )
            values = features[self.config.target]
        return windows(values, encoded.num_frames, self.config.offsets)

    def draw_negatives(
        self, asked: Tensor, batch: Batch, index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw which asked frames are the negatives of which.

        Args:
            asked: (B, T) bool, M of them.
            batch: what the draws depend on.
            index: (M,) which of the B * T frames those are, if it is known.

        Returns:
            (M, N) indices into the M asked frames, never its own; (M, N) bool, False where the
            row, or the batch, has no such frame.
        """
        if index is None:
            index = asked.flatten().nonzero()[:, 0]
        row = index // asked.shape[1]  # (M,)
        per_row = asked.sum(dim=1)  # (B,)
        first = per_row.cumsum(0)[row] - per_row[row]  # (M,) where the frame's row begins
        size = per_row[row]
        place = torch.arange(len(row), device=row.device) - first  # (M,) position in its row
        key = rng.combine(rng.combine(batch.row_id, batch.draw)[row], place)
        near, far = self.config.num_negatives, self.config.cross_sample_negatives
        share = rng.uniform(key, near + far)
        # Steps of 1 .. size - 1 within its own row, so that a frame never meets itself.
        step = 1 + (share[:, :near] * (size - 1).clamp(min=1)[:, None]).long()
        own = first[:, None] + (place[:, None] + step) % size[:, None]
        # Steps that begin after its own row and end before it.
        outside = (len(row) - size)[:, None]
        step = size[:, None] + (share[:, near:] * outside.clamp(min=1)).long()
        other = (first[:, None] + step) % max(len(row), 1)
        there = [(size > 1)[:, None].expand_as(own), (outside > 0).expand_as(other)]
        return torch.cat([own, other], dim=1), torch.cat(there, dim=1)


def _regress(predicted: Tensor, target: Tensor) -> ObjectiveOutput:
    """Compare (M, W) predicted with (M, W) acoustic windows."""
    return ObjectiveOutput(*smooth_l1(predicted, target))


def _output(found: Contrast, keys: Tensor) -> ObjectiveOutput:
    """Report a contrast and how far its (M, D) keys spread."""
    metrics = {
        "accuracy": (found.correct, found.num_queries),
        "chance": (found.chance, found.num_queries),
        "guess": (found.guess, found.num_queries),
        "diversity": diversity(keys),
    }
    return ObjectiveOutput(found.loss_sum, found.num_queries, metrics)
