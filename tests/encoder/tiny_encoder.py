"""A small encoder and padded waveforms."""

import dataclasses

import torch

from mgf_fairseq.encoder.build import build_encoder
from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.encoder.speech_encoder import SpeechEncoder

TINY = EncoderConfig(
    conv_feature_layers="[(8, 10, 5), (8, 3, 2), (12, 3, 2), (12, 3, 2), (12, 3, 2), (12, 2, 2), (12, 2, 2)]",  # noqa: E501
    encoder_layers=2,
    encoder_embed_dim=16,
    encoder_ffn_embed_dim=24,
    encoder_attention_heads=2,
    conv_pos=8,
    conv_pos_groups=4,
    dropout=0.0,
    attention_dropout=0.0,
)


def tiny(**changes: object) -> SpeechEncoder:
    torch.manual_seed(0)
    return build_encoder(dataclasses.replace(TINY, **changes))


def padded(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise rows of given lengths, with noise in the padding too."""
    torch.manual_seed(1)
    waveform = torch.randn(len(lengths), max(lengths))
    return waveform, torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
