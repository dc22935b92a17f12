"""Frame scale, generative: predict acoustic features of each frame.

Visible frames are read from the middle, masked frames from the top (our choice, after a prototype
in which reading both from the top served phonemes worse; the features follow the abstract of arXiv
2102.01930 and PASE+).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ..acoustics.features import AcousticFeatures
from ..losses.reconstruction import smooth_l1
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput, Sum
from .base import Objective, register_objective
from .config import ObjectiveConfig
from .heads import FrameDecoder
from .levels import level_dim, place_selected, read_level, resolve_level, take_frames


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


class Place(NamedTuple):
    """Where the features of some frames are predicted from."""

    part: str  # of `part_names`
    suffix: str  # of its metrics
    level: str
    frames: str
    decoder: FrameDecoder


@register_objective
class FrameObjective(Objective[FrameConfig]):
    """Smooth L1 between predicted and normalized features, mean over bins, per frame.

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

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Sum over frames; each feature at each place is reported by itself."""
        targets = self.acoustic_targets(encoded, batch)
        metrics: dict[str, Sum] = {}
        parts: dict[str, Sum] = {}
        for place in self.places():
            losses, count = self._losses_at(place, encoded.seen_by(place.part), targets)
            mean = torch.stack([loss / len(losses) for loss, _ in losses.values()]).sum()
            parts[place.part] = (mean, count)
            metrics |= {name + place.suffix: (x.detach(), n) for name, (x, n) in losses.items()}
        loss_sums, counts = zip(*parts.values(), strict=True)
        return ObjectiveOutput(
            sum(loss_sums[1:], loss_sums[0]), sum(counts[1:], counts[0]), metrics, parts
        )

    def acoustic_targets(self, encoded: EncoderOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the features in fp32: name -> (B, T, F)."""
        valid = ~encoded.padding_mask
        features: dict[str, Tensor] = self.features(
            batch.waveform, batch.padding_mask, valid.shape[1], valid, batch.shared
        )
        return features

    def places(self) -> list[Place]:
        """List where features are predicted from, one for each of `part_names`."""
        first, *second = self.part_names
        places = [Place(first, "", self.level, self.config.frames, self.decoder)]
        if self.masked_decoder is not None:
            places.append(
                Place(second[0], "_masked", self.masked_level, "masked", self.masked_decoder)
            )
        return places

    def _losses_at(
        self, place: Place, encoded: EncoderOutput, targets: dict[str, Tensor]
    ) -> tuple[dict[str, Sum], Tensor]:
        """Compare at one place: name -> (loss_sum, count), and () how many frames count there."""
        # Only frames that count are decoded: the rest would cost as much again.
        index = place_selected(encoded, place.frames)  # (M,)
        level = read_level(encoded, place.level)
        predicted = place.decoder(take_frames(level, index))  # name -> (M, F)
        losses: dict[str, Sum] = {}
        for name, features in targets.items():
            losses[name] = smooth_l1(predicted[name], take_frames(features, index))
        _, count = next(iter(losses.values()))
        return losses, count
