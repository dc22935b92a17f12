"""What all systems of the benchmark share: the setting, the audio, and how a step is made.

`systems.py` builds MGF on it and `peers.py` the others. The encoder's shape and dropouts are read
from `mgf_fairseq/configs/pretrain`, so that what is measured is what the recipes train.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.encoder.geometry import ConvGeometry, parse_conv_layers
from mgf_fairseq.utils.package import config_dir

CONFIG = config_dir("pretrain")
SAMPLE_RATE = 16_000
NUM_NEGATIVES, FINAL_DIM = 100, 256  # of wav2vec 2.0 Base, and MGF's defaults
CLIP_NORM = 10.0
# Set alike in every system: skipped layers would be noise, and transformers has no gradient scale.
ALIKE = {"encoder_layerdrop": 0.0, "feature_grad_mult": 1.0}


@dataclass(frozen=True)
class Setting:
    """What every system of one run shares."""

    shape: str = "small"  # debug, mini, small or base: mgf_fairseq/configs/pretrain/size
    device: str = "cpu"
    precision: str = "fp32"  # or bf16 autocast over fp32 weights
    seconds: float = 3.0
    rows: int = 16  # of which MGF sees two views of each of rows / 2 utterances
    extractor_mode: str = "layer_norm"  # or default: group norm after the first convolution
    num_batches: int = 4  # made once and used in turn

    def model_values(self) -> dict[str, Any]:
        """Read the encoder's shape and dropouts from the recipe."""
        size = OmegaConf.to_container(OmegaConf.load(CONFIG / "size" / f"{self.shape}.yaml"))
        assert isinstance(size, dict)
        return {**size["model"], **ALIKE, "extractor_mode": self.extractor_mode}

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder's settings, with our defaults for what the recipe does not name."""
        return EncoderConfig(**self.model_values())

    @property
    def num_frames(self) -> int:
        """Frames per row."""
        layers = parse_conv_layers(self.encoder.conv_feature_layers)
        return ConvGeometry.of(layers).num_frames(round(self.seconds * SAMPLE_RATE))

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio per step."""
        return self.rows * self.seconds


@dataclass
class System:
    """A model with its optimizer; ``loss`` maps a step's number to the mean loss."""

    name: str
    model: nn.Module
    loss: Callable[[int], Tensor]
    setting: Setting
    masked_frames: Callable[[], float]  # share of the frames that the last step masked

    def __post_init__(self) -> None:
        self.model.to(self.setting.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, betas=(0.9, 0.98))

    @property
    def num_parameters(self) -> int:
        """Count all parameters, heads included."""
        return sum(p.numel() for p in self.model.parameters())

    def step(self, number: int) -> float:
        """Forward, backward, clip, update; returns the loss, which waits for the device."""
        bf16 = self.setting.precision == "bf16"
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.setting.device, torch.bfloat16, enabled=bf16):
            loss = self.loss(number)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        return float(loss.detach())


def synthetic_audio(setting: Setting, seed: int = 1) -> list[Tensor]:
    """Make batches of (B, S) fp32 noise with a speech-like envelope, unit variance per row."""
    generator = torch.Generator().manual_seed(seed)
    num_samples = round(setting.seconds * SAMPLE_RATE)
    time = torch.arange(num_samples) / SAMPLE_RATE
    batches = []
    for _ in range(setting.num_batches):
        rate = 2 + 3 * torch.rand(setting.rows, 1, generator=generator)
        envelope = 0.55 + 0.45 * torch.sin(2 * torch.pi * rate * time)
        noise = torch.randn(setting.rows, num_samples, generator=generator)
        pitch = 90 + 130 * torch.rand(setting.rows, 1, generator=generator)
        buzz = sum(torch.sin(2 * torch.pi * k * pitch * time) / k for k in range(1, 9))
        waveform = envelope * (buzz + 0.1 * noise)
        batches.append(nn.functional.layer_norm(waveform, (num_samples,)).to(setting.device))
    return batches
