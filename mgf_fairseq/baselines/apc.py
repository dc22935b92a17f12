"""Model ``apc`` and task ``mgf_apc``: autoregressive predictive coding on MGF's data.

After Chung et al. 2019 (arXiv:1904.03240): unidirectional GRUs read log-mel frames and predict the
frame some steps ahead, by L1. The criterion is fairseq's ``model``; what is MGF's is in task.py,
extract/apc.py makes features of a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import register_task
from omegaconf import II
from torch import Tensor, nn

from ..acoustics.features import AcousticFeatures
from ..data.config import MgfPretrainingConfig
from ..encoder.build import frame_grid
from ..encoder.config import ENCODER_RANGES, EncoderConfig
from ..encoder.padding import num_samples_of, padding_mask_of
from ..utils.settings import POSITIVE, require_ranges
from .task import BaselineTask, waveform_of

MODEL = "apc"
FEATURES = "mel"  # of acoustics/features.py


@dataclass
class ApcConfig(EncoderConfig, FairseqDataclass):
    """``encoder_layers`` GRUs of ``encoder_embed_dim`` on the grid of ``conv_feature_layers``.

    The encoder's other settings, which the recipes have, mean nothing here.
    """

    ahead: int = field(default=3, metadata={"help": "frames from the last one read to the target"})
    sample_rate: int = II("task.sample_rate")


@register_model(MODEL, dataclass=ApcConfig)
class ApcModel(BaseFairseqModel):
    """GRUs over log-mel frames; from the second on, a GRU's input is added to its output.

    Depth, sum and loss are the paper's. Ours: frames of the encoder's grid (20 ms; theirs 10 ms),
    so that the same labels fit, and log-mel normalized by fixed numbers (theirs: per speaker).
    """

    def __init__(self, cfg: ApcConfig) -> None:
        super().__init__()
        require_ranges(cfg, {**ENCODER_RANGES, "ahead": POSITIVE})
        self.geometry, self.ahead = frame_grid(cfg), int(cfg.ahead)
        self.width = int(cfg.encoder_embed_dim)
        self.acoustic = AcousticFeatures(
            [FEATURES],
            sample_rate=int(cfg.sample_rate),
            hop_length=self.geometry.hop_length,
            receptive_field=self.geometry.receptive_field,
        )
        bins = self.acoustic.dims[FEATURES]
        self.layers = nn.ModuleList(
            nn.GRU(self.width if number else bins, self.width, batch_first=True)
            for number in range(int(cfg.encoder_layers))
        )
        self.head = nn.Linear(self.width, bins)

    @classmethod
    def build_model(cls, cfg: ApcConfig, task: Any = None) -> ApcModel:
        """Build the model as fairseq asks for it."""
        return cls(cfg)

    def encode(self, source: Tensor, padding_mask: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Read a batch.

        Args:
            source: (B, S), zeros where padded.
            padding_mask: (B, S), True = padding.

        Returns:
            (B, T, F) log-mel frames, the GRUs' (B, T, D) each, and (B, T) which frames are valid.
            A frame depends on the samples up to the end of its own window.
        """
        frames = [self.geometry.num_frames(count) for count in num_samples_of(padding_mask)]
        width = self.geometry.num_frames(source.shape[1])
        valid = ~padding_mask_of(frames, width, source.device)
        mel = self.acoustic(source, padding_mask, width, valid)[FEATURES].to(source.dtype)
        states: list[Tensor] = []
        for layer in self.layers:
            before = states[-1] if states else mel
            after, _ = layer(before)
            states.append(after + before if states else after)
        return mel, states, valid

    def forward(self, source: Tensor, padding_mask: Tensor) -> dict[str, Any]:
        """Predict; the loss is the sum over frames that have a target of the mean over mel bins."""
        mel, states, valid = self.encode(source, padding_mask)
        predicted = self.head(states[-1][:, : -self.ahead])
        error = (predicted - mel[:, self.ahead :]).abs().mean(dim=2)
        counted = valid[:, self.ahead :]
        loss = error.masked_fill(~counted, 0).sum()
        return {"losses": {"ahead": loss}, "sample_size": max(int(counted.sum()), 1)}


@register_task("mgf_apc", dataclass=MgfPretrainingConfig)
class ApcTask(BaselineTask):
    """BaselineTask that hands over what ``ApcModel.forward`` takes."""

    trained = "apc"

    def batch_for(self, sample: dict[str, Any], model: Any) -> dict[str, Any]:
        """Reduce one of our batches to the inputs of ``ApcModel.forward``."""
        mask = sample["net_input"]["padding_mask"]
        return {
            **sample,
            "net_input": {"source": waveform_of(sample, model), "padding_mask": mask},
        }
