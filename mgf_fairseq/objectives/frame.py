"""Frame scale, generative: predict acoustic features of each frame.

Visible frames are read from the middle, masked frames from the top (our choice, after a prototype
in which reading both from the top served phonemes worse; the features follow the abstract of arXiv
2102.01930 and PASE+).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..acoustics.features import AcousticFeatures
from ..losses.reconstruction import smooth_l1
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from .base import Objective, register_objective
from .config import ObjectiveConfig
from .heads import FrameDecoder
from .levels import level_dim, read_level, resolve_level, select_frames


@dataclass
class FrameConfig(ObjectiveConfig):
    """Acoustic features to predict, and a second place to predict masked frames from."""

    level: str = field(default="50%", metadata={"help": "level that the first heads read"})
    frames: str = field(default="visible", metadata={"help": "frames the first heads cover"})
    masked_level: str = field(
        default="context",
        metadata={"help": "level that heads for masked frames read; none: no such heads"},
    )
    features: tuple[str, ...] = field(
        default=("mel", "mfcc", "prosody"),
        metadata={"help": "any of lps (log power spectrum), mel (log-mel), mfcc, prosody"},
    )
    hidden_dim: int = field(
        default=0, metadata={"help": "width of the heads' trunk; 0: linear heads, without one"}
    )
    normalization: str = field(
        default="global",
        metadata={
            "help": "of the targets: global (constants measured at 16 kHz), utterance or none"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.masked_level = str(self.masked_level)
        if self.hidden_dim < 0:
            raise ValueError(f"hidden_dim={self.hidden_dim} is negative; 0 means linear heads")
        if not self.features:
            raise ValueError("features is empty; name at least one")


@register_objective
class FrameObjective(Objective):
    """Smooth L1 between predicted and normalised features, mean over bins, per frame.

    The loss is the mean over features, and over the two places they are read from.
    """

    name = "frame"
    config_type = FrameConfig

    def __init__(self, config: FrameConfig, shape: EncoderShape) -> None:
        super().__init__(config, shape)
        if config.normalization == "global" and shape.sample_rate != 16_000:
            raise ValueError(
                "normalization=global holds for 16 kHz; at another rate use utterance or none"
            )
        self.features = AcousticFeatures(
            config.features,
            sample_rate=shape.sample_rate,
            hop_length=shape.hop_length,
            receptive_field=shape.receptive_field,
            n_fft=shape.receptive_field // 2 * 2,
            normalization=config.normalization,
        )
        dims = self.features.dims
        self.decoder = FrameDecoder(level_dim(self.level, shape), dims, config.hidden_dim)
        self.masked_decoder: FrameDecoder | None = None
        if config.masked_level != "none":
            self.masked_level = resolve_level(config.masked_level, shape, "masked_level")
            self.masked_decoder = FrameDecoder(
                level_dim(self.masked_level, shape), dims, config.hidden_dim
            )

    @property
    def part_names(self) -> tuple[str, ...]:
        """The two places are balanced apart: their gradients differ in size (our choice)."""
        return (self.name,) if self.masked_decoder is None else (self.name, f"{self.name}_masked")

    def target(self, encoded: EncoderOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the features in fp32: name -> (B, T, F)."""
        valid = ~encoded.padding_mask
        features: dict[str, Tensor] = self.features(
            batch.waveform, batch.padding_mask, valid.shape[1], valid
        )
        return features

    def predict(
        self, encoded: EncoderOutput, batch: Batch
    ) -> list[tuple[str, dict[str, Tensor], Tensor]]:
        """Predict at each place: a suffix, name -> (M, F), and its M frames' numbers in B * T."""
        first, *second = self.part_names
        places = [
            self._predict_at(
                "", self.decoder, self.level, self.config.frames, encoded.seen_by(first)
            )
        ]
        if self.masked_decoder is not None:
            seen = encoded.seen_by(second[0])
            places.append(
                self._predict_at("_masked", self.masked_decoder, self.masked_level, "masked", seen)
            )
        return places

    @staticmethod
    def _predict_at(
        suffix: str, decoder: FrameDecoder, level: str, frames: str, encoded: EncoderOutput
    ) -> tuple[str, dict[str, Tensor], Tensor]:
        """Decode only the frames that count: the rest would cost as much again."""
        index = select_frames(encoded, frames).flatten().nonzero()[:, 0]  # (B, T) -> (M,)
        chosen = read_level(encoded, level).flatten(0, 1).index_select(0, index)  # -> (M, D)
        return suffix, decoder(chosen), index

    def compare(
        self,
        prediction: list[tuple[str, dict[str, Tensor], Tensor]],
        target: dict[str, Tensor],
        encoded: EncoderOutput,
        batch: Batch,
    ) -> ObjectiveOutput:
        """Sum over frames; each feature at each place is reported by itself."""
        metrics: dict[str, tuple[Tensor, Tensor]] = {}
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        zero = encoded.context.new_zeros((), dtype=target[next(iter(target))].dtype)
        for part, (suffix, predicted, index) in zip(self.part_names, prediction, strict=True):
            valid = torch.ones_like(index, dtype=torch.bool)  # (M,)
            total = zero
            for name, features in target.items():
                wanted = features.flatten(0, 1).index_select(0, index)  # (B, T, F) -> (M, F)
                loss_sum, count = smooth_l1(predicted[name], wanted, valid)
                metrics[name + suffix] = (loss_sum.detach(), count)
                total = total + loss_sum / len(target)
            parts[part] = (total, zero + valid.sum())
        loss_sums, counts = zip(*parts.values(), strict=True)
        return ObjectiveOutput(sum(loss_sums, zero), sum(counts, zero), metrics, parts)
