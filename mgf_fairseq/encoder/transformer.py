"""The Transformer over frames: positional convolution, self-attention layers, layerdrop.

Takes projected latents from the conv stack and gives the context and all hidden states; parameters
carry the names of fairseq's wav2vec2 ``TransformerEncoder``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class WeightNormConv(nn.Module):
    """Grouped positional convolution with weight norm over its taps (fairseq ``make_conv_pos``)."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(
                f"encoder_embed_dim={width} is not a multiple of conv_pos_groups={groups}"
            )
        self.kernel, self.groups = kernel, groups
        weight = torch.empty(width, width // groups, kernel)
        nn.init.normal_(weight, mean=0.0, std=math.sqrt(4.0 / (kernel * width)))
        self.weight_g = nn.Parameter(weight.norm(dim=(0, 1), keepdim=True))  # (1, 1, kernel)
        self.weight_v = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D, T) to (B, D, T)."""
        norm = self.weight_v.norm(dim=(0, 1), keepdim=True)
        weight = self.weight_v * (self.weight_g / norm)
        y = F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return y[..., : x.shape[-1]]  # an even kernel makes one frame too many


class SelfAttention(nn.Module):
    """Multi-head self-attention under fairseq's parameter names."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"encoder_embed_dim={width} is not a multiple of encoder_attention_heads={heads}"
            )
        self.heads, self.dropout = heads, dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        """Map (B, T, D) to (B, T, D); ``attend`` is (B, 1, 1, T) bool, True = may be seen."""
        b, t, d = x.shape
        # (B, T, D) -> (B, heads, T, D / heads)
        q, k, v = (
            project(x).view(b, t, self.heads, d // self.heads).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, d))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """One layer, post-norm or pre-norm (fairseq ``TransformerSentenceEncoderLayer``)."""

    def __init__(
        self,
        width: int,
        ffn_width: int,
        heads: int,
        *,
        dropout: float,
        attention_dropout: float,
        activation_dropout: float,
        layer_norm_first: bool,
    ) -> None:
        super().__init__()
        self.embedding_dim = width  # read by fairseq's wav2vec_classification
        self.layer_norm_first = layer_norm_first
        self.self_attn = SelfAttention(width, heads, attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, ffn_width)
        self.fc2 = nn.Linear(ffn_width, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.activation_dropout = nn.Dropout(activation_dropout)

    def forward(self, x: Tensor, attend: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map (B, T, D) to the layer's output and its feed-forward output, both (B, T, D)."""
        if self.layer_norm_first:
            x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), attend))
            ffn = self._feed_forward(self.final_layer_norm(x))
            return x + self.dropout(ffn), ffn
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, attend)))
        ffn = self._feed_forward(x)
        return self.final_layer_norm(x + self.dropout(ffn)), ffn

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_dropout(F.gelu(self.fc1(x))))  # type: ignore[no-any-return]


class TransformerEncoder(nn.Module):
    """Positional convolution and Transformer layers (fairseq wav2vec2 ``TransformerEncoder``)."""

    def __init__(
        self,
        pos_conv: WeightNormConv,
        layers: Iterable[TransformerLayer],
        width: int,
        *,
        dropout: float,
        layerdrop: float,
        layer_norm_first: bool,
        checkpoint_activations: bool,
    ) -> None:
        super().__init__()
        # A Sequential of one, so that the parameters are named pos_conv.0.* as in fairseq.
        self.pos_conv = nn.Sequential(pos_conv)
        self.layers = nn.ModuleList(layers)
        self.layer_norm = nn.LayerNorm(width)
        self.layer_norm_first = layer_norm_first
        self.layerdrop = layerdrop
        self.checkpoint_activations = checkpoint_activations
        self.dropout = nn.Dropout(dropout)
        self.apply(_init_linear)

    def forward(
        self, x: Tensor, padding_mask: Tensor | None, draws: Sequence[float] | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Map (B, T, D) to context, L + 1 hidden states and L feed-forward outputs.

        ``draws`` are L numbers in [0, 1): in training, a layer whose number is below ``layerdrop``
        is skipped. If None, they come from torch's generator.
        """
        attend = None
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
            attend = ~padding_mask[:, None, None, :]
        x = x + F.gelu(self.pos_conv(x.transpose(1, 2)).transpose(1, 2))
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        hidden_states, ffn_outputs = [x], []
        if self.training and self.layerdrop > 0.0 and draws is None:
            draws = torch.rand(len(self.layers)).tolist()
        for number, layer in enumerate(self.layers):
            skip = self.training and draws is not None and draws[number] < self.layerdrop
            x, ffn = self._skip(layer, x) if skip else self._run(layer, x, attend)
            hidden_states.append(x)
            ffn_outputs.append(ffn)
        if self.layer_norm_first:
            x = self.layer_norm(x)
        return x, hidden_states, ffn_outputs

    def _skip(self, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Leave x as it is, yet hand every parameter of the layer a gradient of zero.

        DDP waits for all of them unless it looks for unused parameters, whichever ranks skip.
        """
        # In fp32: a sum that overflows fp16 (common.fp16) times zero is NaN.
        x = x + sum(p.sum(dtype=torch.float32) for p in layer.parameters()) * 0.0
        return x, torch.zeros_like(x)

    def _run(self, layer: nn.Module, x: Tensor, attend: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.checkpoint_activations and self.training:
            return checkpoint(layer, x, attend, use_reentrant=False)  # type: ignore[no-any-return]
        return layer(x, attend)  # type: ignore[no-any-return]


def _init_linear(module: nn.Module) -> None:
    """Initialise linear layers as BERT does (fairseq ``init_bert_params``)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, mean=0.0, std=0.02)
        nn.init.zeros_(module.bias)
