"""Sample scale, generative: decode the waveform of a random stretch from the encoder's frames.

Reads latents by default, where phase still exists (our choice; the abstract of arXiv 2102.01930
names waveform reconstruction, not where it reads from).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..encoder.geometry import middle_hop
from ..losses.reconstruction import multi_resolution_stft_loss, si_sdr_loss, snr_loss
from ..types import Batch, EncoderOutput, EncoderShape, ObjectiveOutput
from ..utils import rng
from .base import Objective, register_objective
from .config import ObjectiveConfig
from .heads import WaveformDecoder
from .levels import level_dim, read_level


@dataclass
class SampleConfig(ObjectiveConfig):
    """Waveform reconstruction: the weights balance SNR and SI-SDR (dB) and spectra (nats).

    The recipes set ``snr_weight`` alone; the defaults here are those of version 0.1.
    """

    level: str = field(default="latents", metadata={"help": "level the decoder reads"})
    segment_frames: int = field(
        default=32, metadata={"help": "frames decoded per row; shorter rows are skipped"}
    )
    hidden_dim: int = field(default=256, metadata={"help": "decoder width"})
    snr_weight: float = field(default=0.0, metadata={"help": "weight of -SNR, per dB"})
    si_sdr_weight: float = field(default=0.1, metadata={"help": "weight of -SI-SDR, per dB"})
    stft_weight: float = field(default=1.0, metadata={"help": "weight of the STFT terms"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive("segment_frames", "hidden_dim")
        weights = (self.snr_weight, self.si_sdr_weight, self.stft_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(
                f"snr_weight, si_sdr_weight, stft_weight={weights} must be finite, none below zero "
                "and one above"
            )
        if self.frames != "all":
            raise ValueError("frames: a stretch is decoded whole, so only 'all' is possible")


@register_objective
class SampleObjective(Objective[SampleConfig]):
    """Reconstruct ``segment_frames`` frames of waveform per row.

    The loss per segment is ``-snr_weight * SNR - si_sdr_weight * SI-SDR + stft_weight * (spectral
    convergence + log-magnitude L1)``; a term of weight 0 is not computed. Both ratios (Le Roux et
    al. 2019) skip silent segments. SI-SDR and spectra do not see the sign, and the spectra reward
    full loudness while the phase is still unknown: with them a decoder of short stretches never
    finds the phase, with SNR alone it does (our choice, with measurements in examples/RESULTS.md).
    """

    name = "sample"
    config_type = SampleConfig

    def __init__(self, config: SampleConfig, shape: EncoderShape) -> None:
        super().__init__(config, shape)
        self.decoder = WaveformDecoder(
            level_dim(self.level, shape), config.hidden_dim, hop_length=shape.hop_length
        )

    def forward(self, encoded: EncoderOutput, batch: Batch) -> ObjectiveOutput:
        """Sum the loss over rows that are long enough and audible; SI-SDR is reported in dB."""
        starts, long_enough = self.segment_starts(encoded, batch)
        target = self.cut_segments(starts, batch)
        prediction = self.decode_segments(starts, encoded)
        valid = long_enough[:, None].expand_as(prediction)  # (B,) -> (B, K * hop)
        config = self.config
        with torch.set_grad_enabled(torch.is_grad_enabled() and config.si_sdr_weight > 0):
            negative_db, audible = si_sdr_loss(prediction, target, valid)
        metrics = {"si_sdr": (-negative_db.detach(), audible)}
        loss = config.si_sdr_weight * negative_db
        if config.snr_weight:
            loss = loss + config.snr_weight * snr_loss(prediction, target, valid)[0]
        count = audible
        if config.stft_weight:  # spectra of silent segments count too; their ratios are 0 dB then
            spectral, count = multi_resolution_stft_loss(prediction, target, valid)
            loss = loss + config.stft_weight * spectral
            metrics["stft"] = (spectral.detach(), count)
        return ObjectiveOutput(loss, count, metrics)

    def segment_starts(self, encoded: EncoderOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draw where each row's stretch starts, in frames, and which rows are long enough: (B,)."""
        room = encoded.num_frames - self.config.segment_frames
        share = rng.uniform(rng.combine(batch.row_id, batch.draw), 1).squeeze(1)
        starts = (share * (room + 1).clamp(min=1)).long()
        return starts, room >= 0

    def cut_segments(self, starts: Tensor, batch: Batch) -> Tensor:
        """Cut the stretches out of the waveform: (B, S) -> (B, K * hop) fp32."""
        hop = self.shape.hop_length
        # The decoder's block for a frame is its middle hop.
        first = starts * hop + middle_hop(self.shape.receptive_field, hop)
        index = first[:, None] + torch.arange(self.config.segment_frames * hop, device=first.device)
        return batch.waveform.gather(1, index.clamp(max=batch.waveform.shape[1] - 1))

    def decode_segments(self, starts: Tensor, encoded: EncoderOutput) -> Tensor:
        """Decode the stretches: (B, T, C or D) -> (B, K * hop)."""
        x = read_level(encoded, self.level)
        index = starts[:, None] + torch.arange(self.config.segment_frames, device=x.device)
        index = index.clamp(max=x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2])
        samples: Tensor = self.decoder(x.gather(1, index))
        return samples
