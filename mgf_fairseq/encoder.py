"""The speech encoder: waveform to latents (conv stack) to context (Transformer).

Parameters carry the names of fairseq's ``wav2vec2`` so that weights, exports and fine-tuning
recipes fit; :class:`SpeechEncoder` is what objectives read from and what downstream users keep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv1d_channels_last, init_conv_, norm_channels
from .lengths import ConvGeometry, ConvLayer, num_samples_of, padding_mask_of, parse_conv_layers
from .masking import SpanMask, draw_masks, generator
from .ranges import POSITIVE, SHARE, require_ranges
from .transformer import TransformerEncoder, TransformerLayer, WeightNormConv
from .types import EncoderOutput

LAYERS = 2  # axis of the random numbers of layerdrop; frames are 0, channels 1


@dataclass
class EncoderConfig:
    """The encoder's shape and regularisation, under the key names of fairseq ``Wav2Vec2Config``.

    The fine-tuning models of fairseq override dropouts, masks, layerdrop and
    ``feature_grad_mult`` by bare key name, so these names mean nothing else anywhere below.
    """

    extractor_mode: str = field(
        default="layer_norm",
        metadata={"help": "layer_norm: padding never changes a valid frame; default: group norm"},
    )
    conv_feature_layers: str = field(
        default="[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
        metadata={"help": "conv stack as [(channels, kernel, stride), ...]; + and * n allowed"},
    )
    conv_bias: bool = field(
        default=True,
        metadata={"help": "biases in the conv stack; layer norms without hide how loud a frame is"},
    )
    encoder_layers: int = field(default=12, metadata={"help": "Transformer layers"})
    encoder_embed_dim: int = field(default=768, metadata={"help": "model width D"})
    encoder_ffn_embed_dim: int = field(default=3072, metadata={"help": "feed-forward width"})
    encoder_attention_heads: int = field(default=12, metadata={"help": "attention heads"})
    layer_norm_first: bool = field(default=False, metadata={"help": "pre-norm Transformer"})
    conv_pos: int = field(default=128, metadata={"help": "positional conv kernel, in frames"})
    conv_pos_groups: int = field(default=16, metadata={"help": "positional conv groups"})
    dropout: float = field(default=0.1, metadata={"help": "dropout in the Transformer"})
    attention_dropout: float = field(default=0.1, metadata={"help": "dropout on attention"})
    activation_dropout: float = field(default=0.0, metadata={"help": "dropout inside the FFN"})
    dropout_input: float = field(default=0.0, metadata={"help": "dropout on projected latents"})
    encoder_layerdrop: float = field(default=0.0, metadata={"help": "chance to skip a layer"})
    feature_grad_mult: float = field(
        default=1.0, metadata={"help": "scale of gradients into the conv stack; 0 freezes it"}
    )
    mask_prob: float = field(
        default=0.65, metadata={"help": "share of frames masked if spans never overlapped"}
    )
    mask_length: int = field(default=10, metadata={"help": "span length, in frames"})
    mask_selection: str = field(
        default="static", metadata={"help": "span lengths: static, uniform, normal, poisson"}
    )
    mask_other: float = field(default=0.0, metadata={"help": "second parameter of mask_selection"})
    no_mask_overlap: bool = field(default=False, metadata={"help": "spans may not overlap"})
    mask_channel_prob: float = field(default=0.0, metadata={"help": "mask_prob over channels"})
    mask_channel_length: int = field(default=10, metadata={"help": "span length, in channels"})
    mask_channel_before: bool = field(
        default=False, metadata={"help": "mask channels before frames rather than after"}
    )
    mask_channel_selection: str = field(
        default="static", metadata={"help": "mask_selection over channels"}
    )
    mask_channel_other: float = field(default=0.0, metadata={"help": "mask_other over channels"})
    no_mask_channel_overlap: bool = field(
        default=False, metadata={"help": "no_mask_overlap over channels"}
    )
    checkpoint_activations: bool = field(
        default=False, metadata={"help": "recompute layers in backward to save memory"}
    )


# Fields that hold numbers; those of masks are looked at by SpanMask.
ENCODER_RANGES = {
    **dict.fromkeys(("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim"), POSITIVE),
    **dict.fromkeys(("encoder_attention_heads", "conv_pos", "conv_pos_groups"), POSITIVE),
    **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), SHARE),
    **dict.fromkeys(("dropout_input", "encoder_layerdrop"), SHARE),
    "feature_grad_mult": (0, math.inf),
}


class ConvFeatureExtractor(nn.Module):
    """Strided convolutions over the waveform, channels last throughout.

    The same parameters and outputs as fairseq's ``ConvFeatureExtractionModel``, which transposes
    twice per layer; keeping channels last needs no copy (measured in ``examples/benchmark``).
    """

    def __init__(self, layers: Sequence[ConvLayer], mode: str, bias: bool) -> None:
        super().__init__()
        if mode not in ("layer_norm", "default"):
            raise ValueError(f"extractor_mode={mode!r} is neither 'layer_norm' nor 'default'")
        self.conv_layers = nn.ModuleList()
        in_channels = 1
        for index, (channels, kernel, stride) in enumerate(layers):
            conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, bias=bias)
            init_conv_(conv.weight)
            block: list[nn.Module] = [conv, nn.Identity()]
            if mode == "layer_norm":
                # Position 2.1 is where fairseq keeps the norm, between its two transposes.
                block.append(nn.Sequential(nn.Identity(), nn.LayerNorm(channels)))
            elif index == 0:
                block.append(nn.GroupNorm(channels, channels))
            self.conv_layers.append(nn.Sequential(*block))
            in_channels = channels

    def forward(self, waveform: Tensor) -> Tensor:
        """Map (B, S) to (B, T, C)."""
        x = waveform.unsqueeze(2)  # (B, S) -> (B, S, 1)
        for block in self.conv_layers:
            x = self._layer(block, x)
        return x.contiguous()  # so already unless the norm is a group norm

    @staticmethod
    def _layer(block: nn.Module, x: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S', C')."""
        assert isinstance(block, nn.Sequential)
        conv = block[0]
        assert isinstance(conv, nn.Conv1d)
        x = conv1d_channels_last(x, conv.weight, conv.bias, conv.stride[0])
        if len(block) == 2:
            return F.gelu(x)
        if isinstance(block[2], nn.GroupNorm):
            x = block[2](x.transpose(1, 2).unsqueeze(2))  # (B, S', C') -> (B, C', 1, S')
            return F.gelu(x.squeeze(2).transpose(1, 2))
        assert isinstance(block[2], nn.Sequential)
        norm = block[2][1]
        assert isinstance(norm, nn.LayerNorm)
        return F.gelu(norm_channels(norm, x).to(x.dtype))  # autocast makes norms return fp32


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


class SpeechEncoder(nn.Module):
    """Waveform in, :class:`~mgf_fairseq.types.EncoderOutput` out.

    In the default ``layer_norm`` mode padding never changes a valid frame. Masks are drawn by
    :mod:`mgf_fairseq.masking` from (``mask_seed``, ``mask_update``, row).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        require_ranges(config, ENCODER_RANGES)
        layers = parse_conv_layers(config.conv_feature_layers)
        width = config.encoder_embed_dim
        self.geometry = ConvGeometry.of(layers)
        self.feature_extractor, self.latent_dim = self._front_end(config, layers)
        self.feature_grad_mult = config.feature_grad_mult
        self.mask_channel_before = config.mask_channel_before
        self.frame_spans = SpanMask(
            config.mask_prob,
            config.mask_length,
            config.mask_selection,
            config.mask_other,
            config.no_mask_overlap,
            min_spans=1,
        )
        self.channel_spans = SpanMask(
            config.mask_channel_prob,
            config.mask_channel_length,
            config.mask_channel_selection,
            config.mask_channel_other,
            config.no_mask_channel_overlap,
            name="mask_channel",
        )
        # Frozen outright, so that DDP does not wait for gradients that never come.
        self.feature_extractor.requires_grad_(config.feature_grad_mult > 0.0)
        self.layer_norm: nn.Module = nn.LayerNorm(self.latent_dim)
        self.post_extract_proj = (
            nn.Linear(self.latent_dim, width) if self.latent_dim != width else None
        )
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.mask_emb = nn.Parameter(torch.empty(width).uniform_())
        self.encoder = _transformer(config)
        self.mask_seed = 0
        self.mask_update = 0

    def encode(
        self,
        waveform: Tensor,
        padding_mask: Tensor | None = None,
        *,
        mask: bool = False,
        row_id: Tensor | None = None,
        update: int | None = None,
    ) -> tuple[EncoderOutput, list[Tensor]]:
        """Encode a batch.

        Args:
            waveform: (B, S), any floating dtype.
            padding_mask: (B, S) bool, True = padding; None where no row is padded.
            mask: mask spans of frames (and channels) before the Transformer.
            row_id: (B,) int64, what masks are drawn from. If None, it is drawn from torch's
                generator, and so are the layers to skip.
            update: what masks and layers to skip are drawn from, too; ``mask_update`` if None.

        Returns:
            the output and the L feed-forward outputs, (B, T, D) each, that fairseq's
            ``layer_results`` carry.

        Raises:
            ValueError: a row is shorter than the receptive field.
        """
        num_frames, width = self._num_frames(waveform, padding_mask)
        update = self.mask_update if update is None else update
        masks = None
        if mask:
            masks = self._draw_masks(num_frames, width, row_id, update)
        latents = self._latents(waveform, num_frames)  # (B, S) -> (B, T, C)
        padded = min(num_frames) < width
        frame_padding = padding_mask_of(num_frames, width, waveform.device)
        x = self._project(latents)
        if masks is not None:
            x = self._apply_masks(x, *masks)
        context, hidden_states, ffn = self.encoder(
            x,
            frame_padding if padded else None,
            None if row_id is None else self._draw_layers(update),
        )
        output = EncoderOutput(
            latents=latents,
            context=context,
            hidden_states=hidden_states,
            padding_mask=frame_padding,
            num_frames=(~frame_padding).sum(dim=1),
            mask_indices=torch.zeros_like(frame_padding) if masks is None else masks[0],
        )
        return output, ffn

    def _num_frames(self, waveform: Tensor, padding_mask: Tensor | None) -> tuple[list[int], int]:
        rows, width = waveform.shape
        samples = [width] * rows if padding_mask is None else num_samples_of(padding_mask)
        frames = [self.geometry.num_frames(n) for n in samples]
        if min(frames) == 0:
            row = frames.index(0)
            raise ValueError(
                f"row {row} of the batch has {samples[row]} samples, fewer than the "
                f"{self.geometry.receptive_field} that one frame needs; "
                "drop it (min_sample_size) or pad the recording"
            )
        return frames, self.geometry.num_frames(width)

    def _front_end(
        self, config: EncoderConfig, layers: Sequence[ConvLayer]
    ) -> tuple[nn.Module, int]:
        """Build what turns a waveform into frames, and say how wide they are."""
        stack = ConvFeatureExtractor(layers, config.extractor_mode, config.conv_bias)
        return stack, layers[-1][0]

    def _latents(self, waveform: Tensor, num_frames: list[int]) -> Tensor:
        """Map (B, S) to layer-normed latents (B, T, C), scaling the gradient into the stack.

        A stack of convolutions needs no ``num_frames``, the valid frames of each row.
        """
        waveform = waveform.to(self.mask_emb.dtype)
        x = self.feature_extractor(waveform)
        if x.requires_grad and self.feature_grad_mult != 1.0:
            x.register_hook(lambda gradient: gradient * self.feature_grad_mult)
        assert isinstance(self.layer_norm, nn.LayerNorm)
        return norm_channels(self.layer_norm, x)

    def _project(self, latents: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, D)."""
        x = latents if self.post_extract_proj is None else self.post_extract_proj(latents)
        return self.dropout_input(x)  # type: ignore[no-any-return]

    def _draw_masks(
        self, num_frames: list[int], width: int, row_id: Tensor | None, update: int
    ) -> tuple[Tensor, Tensor | None]:
        """Draw (B, T) frame masks and, where channels are masked at all, (B, D) channel masks."""
        drawn = torch.randint(2**62, (len(num_frames),)) if row_id is None else row_id
        rows = [int(row) for row in drawn.tolist()]
        keys = {"seed": self.mask_seed, "update": update, "rows": rows}
        device = self.mask_emb.device
        frame = draw_masks(self.frame_spans, num_frames, width, **keys)  # type: ignore[arg-type]
        if self.channel_spans.prob == 0.0:
            return torch.from_numpy(frame).to(device), None
        channels = self.mask_emb.numel()
        channel = draw_masks(
            self.channel_spans,
            [channels] * len(rows),
            channels,
            axis=1,
            **keys,  # type: ignore[arg-type]
        )
        return torch.from_numpy(frame).to(device), torch.from_numpy(channel).to(device)

    def _draw_layers(self, update: int) -> list[float]:
        """Draw the numbers that decide which layers are skipped, the same on every rank."""
        rng = generator(self.mask_seed, update, row=0, axis=LAYERS)
        return rng.random(len(self.encoder.layers)).tolist()  # type: ignore[no-any-return]

    def _apply_masks(self, x: Tensor, frame: Tensor, channel: Tensor | None) -> Tensor:
        """Put ``mask_emb`` on masked frames and zero on masked channels of x (B, T, D)."""
        if channel is not None and self.mask_channel_before:
            x = x.masked_fill(channel[:, None, :], 0.0)
        x = torch.where(frame[..., None], self.mask_emb.to(x.dtype), x)
        if channel is not None and not self.mask_channel_before:
            x = x.masked_fill(channel[:, None, :], 0.0)
        return x
