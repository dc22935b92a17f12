"""From a configuration to an encoder.

The only place that makes modules of :class:`~mgf_fairseq.encoder.config.EncoderConfig`. They are
made in a fixed order, since that decides which random numbers initialize which weights.
"""

from __future__ import annotations

import torch
from torch import nn

from ..utils.settings import require_ranges
from .config import ENCODER_RANGES, EncoderConfig
from .feature_extractor import ConvFeatureExtractor
from .geometry import ConvGeometry, parse_conv_layers
from .masking import SpanMask
from .speech_encoder import EncoderParts, SpeechEncoder
from .transformer import TransformerEncoder, TransformerLayer, WeightNormConv


def build_encoder(config: EncoderConfig) -> SpeechEncoder:
    """Build the encoder that a configuration describes.

    Raises:
        ValueError: a setting is out of its range; its key is named.
    """
    return SpeechEncoder(build_parts(config))


def build_parts(
    config: EncoderConfig, front_end: tuple[nn.Module, int] | None = None
) -> EncoderParts:
    """Build all parts of an encoder.

    Args:
        config: its settings.
        front_end: what turns a waveform into latents, and their width; None: the conv stack.

    Raises:
        ValueError: a setting is out of its range; its key is named.
    """
    require_ranges(config, ENCODER_RANGES)
    width = config.encoder_embed_dim
    extractor, latent_dim = front_end or _conv_stack(config)
    projection = nn.Linear(latent_dim, width) if latent_dim != width else None
    mask_embedding = nn.Parameter(torch.empty(width).uniform_())
    frame_spans, channel_spans = _spans(config)
    return EncoderParts(
        geometry=frame_grid(config),
        feature_extractor=extractor,
        latent_dim=latent_dim,
        layer_norm=nn.LayerNorm(latent_dim),
        projection=projection,
        mask_embedding=mask_embedding,
        transformer=_transformer(config),
        frame_spans=frame_spans,
        channel_spans=channel_spans,
        mask_channel_before=config.mask_channel_before,
        dropout_input=config.dropout_input,
        feature_grad_mult=config.feature_grad_mult,
    )


def frame_grid(config: EncoderConfig) -> ConvGeometry:
    """Take the frame grid from ``conv_feature_layers``."""
    return ConvGeometry.of(parse_conv_layers(config.conv_feature_layers))


def _conv_stack(config: EncoderConfig) -> tuple[nn.Module, int]:
    layers = parse_conv_layers(config.conv_feature_layers)
    stack = ConvFeatureExtractor(layers, config.extractor_mode, config.conv_bias)
    return stack, layers[-1][0]


def _spans(config: EncoderConfig) -> tuple[SpanMask, SpanMask]:
    """Make the masks of frames and of channels."""
    frames = SpanMask(
        config.mask_prob,
        config.mask_length,
        config.mask_selection,
        config.mask_other,
        config.no_mask_overlap,
        min_spans=1,
    )
    channels = SpanMask(
        config.mask_channel_prob,
        config.mask_channel_length,
        config.mask_channel_selection,
        config.mask_channel_other,
        config.no_mask_channel_overlap,
        name="mask_channel",
    )
    return frames, channels


def _transformer(config: EncoderConfig) -> TransformerEncoder:
    """Build the Transformer that a configuration describes."""
    width = config.encoder_embed_dim
    layers = (
        TransformerLayer(
            width,
            config.encoder_ffn_embed_dim,
            config.encoder_attention_heads,
            dropout=config.dropout,
            attention_dropout=config.attention_dropout,
            activation_dropout=config.activation_dropout,
            layer_norm_first=config.layer_norm_first,
        )
        for _ in range(config.encoder_layers)
    )
    return TransformerEncoder(
        WeightNormConv(width, config.conv_pos, config.conv_pos_groups),
        layers,
        width,
        dropout=config.dropout,
        layerdrop=config.encoder_layerdrop,
        layer_norm_first=config.layer_norm_first,
        checkpoint_activations=config.checkpoint_activations,
    )
