"""The settings of the speech encoder, with the range of each.

Fields carry the names of fairseq's ``wav2vec2``, so fine-tuning recipes and exports read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..utils.settings import POSITIVE, SHARE


@dataclass
class EncoderConfig:
    """The encoder's shape and regularization, under the key names of fairseq ``Wav2Vec2Config``.

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

# What decides the hidden states beside the weights, without dropout and masks.
SHAPE_FIELDS = (
    *("extractor_mode", "conv_feature_layers", "conv_bias", "encoder_layers", "encoder_embed_dim"),
    *("encoder_ffn_embed_dim", "encoder_attention_heads", "layer_norm_first"),
    *("conv_pos", "conv_pos_groups"),
)
