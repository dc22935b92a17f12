"""The dataclasses that cross borders between the parts, and the letters that name their axes.

Most of what passes between the collater and the criterion is one of these; nothing here computes.

Shape letters, used in every comment of this package:
B rows (one view of one utterance each), S audio samples, T encoder frames, F feature bins,
D model width, C channels, M frames that count, N negatives, L layers, W world size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Sum = tuple[Tensor, Tensor]  # () what was added up, () and over how many


@dataclass(frozen=True)
class HostRows:
    """What the host knows of a batch's rows, so that a step need not ask the device for it."""

    num_samples: tuple[int, ...]  # B valid samples
    row_id: tuple[int, ...]  # B, as `Batch.row_id`
    counted: tuple[int, ...]  # the rows that count for the utterance objective, as indices
    starts: tuple[int, ...] = ()  # B, where each row begins in its utterance, in samples


@dataclass(frozen=True)
class Batch:
    """The data as the objectives receive it."""

    waveform: Tensor  # (B, S) fp32 at unit variance, zeros where padded: what targets are made of
    padding_mask: Tensor  # (B, S) bool, True = padding
    utterance: Tensor  # (B,) int64, the manifest line: equal numbers are views of one utterance
    row_id: Tensor  # (B,) int64, unique per (utterance, view): what random choices depend on
    draw: int = 0  # changes with every update; with row_id it decides every random choice
    rows: HostRows | None = None  # the same on the host; None: ask the device
    # What several objectives make of the waveform, each once: `AcousticFeatures` keeps it here.
    shared: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True)
class EncoderShape:
    """What an objective needs to know about the encoder to build its heads."""

    latent_dim: int  # C
    embed_dim: int  # D
    num_layers: int  # L
    hop_length: int  # samples between two frames
    receptive_field: int  # samples that one frame sees
    sample_rate: int  # Hz


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder hands to the objectives and to every downstream user."""

    latents: Tensor  # (B, T, C) conv output after layer norm, before masking
    context: Tensor  # (B, T, D) Transformer output
    hidden_states: list[Tensor]  # L + 1 of (B, T, D): the Transformer's input, then each layer
    padding_mask: Tensor  # (B, T) bool, True = padding
    num_frames: Tensor  # (B,) int64 valid frames per row
    mask_indices: Tensor  # (B, T) bool, True = masked before the Transformer; never on padding
    # "masked", "visible" and "all" -> (M,) int64: which of the B * T frames these are, in order.
    # Empty where nothing was masked, or nobody knows.
    selected: Mapping[str, Tensor] = field(default_factory=dict)
    # The same levels as each part of an objective reads them: what gradient comes back is measured.
    views: Mapping[str, EncoderOutput] = field(default_factory=dict)

    def seen_by(self, part: str) -> EncoderOutput:
        """Give the levels that one part of an objective reads; its gradient is measured there."""
        return self.views.get(part, self)


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective hands to the criterion: sums and counts, never means."""

    loss_sum: Tensor  # () fp32, in nats (or the unit the objective documents)
    count: Tensor  # () fp32, what loss_sum was summed over
    metrics: dict[str, Sum] = field(default_factory=dict)
    # Parts that get a share of the gradient each: Objective.part_names -> (loss_sum, count). Empty:
    # the objective is one part, under its own name.
    parts: dict[str, Sum] = field(default_factory=dict)
