"""Model ``acoustic_features``: log-mel or MFCC frames into the Transformer, nothing learned yet.

The rows fbank and mfcc of speech recognition: fairseq's fine-tuning recipes train it from scratch
where they would take a pre-trained encoder, through the same contract as :mod:`mgf_fairseq.model`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq.models import register_model
from torch import Tensor, nn

from ..acoustics.features import AcousticFeatures
from ..checkpoints.files import write_whole
from ..encoder.build import build_parts, frame_grid
from ..encoder.config import EncoderConfig
from ..encoder.padding import padding_mask_of
from ..encoder.speech_encoder import EncoderParts
from ..model import MgfConfig, MgfModel

ACOUSTIC = {"fbank": "mel", "mfcc": "mfcc"}  # our names -> those of acoustics/features.py


@dataclass
class AcousticModelConfig(MgfConfig):
    """As ``mgf``; of ``conv_feature_layers`` only kernels and strides count: the frame grid."""

    features: str = field(default="fbank", metadata={"help": "what a frame is: fbank or mfcc"})


@register_model("acoustic_features", dataclass=AcousticModelConfig)
class AcousticModel(MgfModel):
    """Frames of fixed features, a linear projection, and the Transformer of ``mgf``."""

    @staticmethod
    def encoder_parts(cfg: Any) -> EncoderParts:
        """Take fixed features on the encoder's own frame grid in place of the conv stack."""
        kind = str(cfg.features)
        if kind not in ACOUSTIC:
            raise ValueError(f"model.features={kind!r} is none of {', '.join(ACOUSTIC)}")
        grid = frame_grid(cfg)
        features = AcousticFeatures(
            [ACOUSTIC[kind]],
            sample_rate=int(cfg.sample_rate),
            hop_length=grid.hop_length,
            receptive_field=grid.receptive_field,
        )
        parts = build_parts(cfg, (features, features.dims[ACOUSTIC[kind]]))
        # The features come with fixed means and deviations; a norm per frame would remove its
        # loudness.
        return dataclasses.replace(parts, layer_norm=nn.Identity())

    def _latents(self, waveform: Tensor, num_frames: list[int]) -> Tensor:
        """Map (B, S) to (B, T, F)."""
        width = self.geometry.num_frames(waveform.shape[1])
        valid = ~padding_mask_of(num_frames, width, waveform.device)
        # Padding is zeros already, and no valid frame sees it.
        no_padding = torch.zeros_like(waveform, dtype=torch.bool)
        features = self.feature_extractor(waveform, no_padding, width, valid)
        (values,) = features.values()
        return values.to(self.mask_emb.dtype)  # type: ignore[no-any-return]


def write_untrained(path: Path, features: str, shape: EncoderConfig, sample_rate: int) -> None:
    """Write a checkpoint of the model with random weights, for ``model.w2v_path``.

    Fine-tune from it with ``+model.no_pretrained_weights=true``, so that the run's own seed draws
    the weights.

    Args:
        path: where to.
        features: fbank or mfcc.
        shape: the Transformer's sizes and the frame grid, as of the encoder it is compared with.
        sample_rate: Hz.
    """
    values: dict[str, Any] = dataclasses.asdict(shape)
    model = {**values, "features": features, "sample_rate": sample_rate, "seed": 1}
    config = AcousticModelConfig(**model)
    task = {"_name": "mgf_pretraining", "data": "", "normalize": True, "sample_rate": sample_rate}
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "args": None,
        "cfg": {
            "common": {"seed": 1},
            "task": {**task, "seed": 1},
            "model": {"_name": "acoustic_features", "objectives": None, **model},
            "criterion": None,
            "lr_scheduler": None,
        },
        "model": AcousticModel(config).state_dict(),
        # What fairseq's loader looks into.
        "optimizer_history": [
            {"num_updates": 0, "optimizer_name": "none", "lr_scheduler_state": {}}
        ],
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}, "val_loss": None},
        "task_state": {},
    }
    write_whole(path, lambda part: torch.save(state, part))
