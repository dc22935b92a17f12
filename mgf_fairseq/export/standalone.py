"""A speech encoder, with its head if it has one, in one file that needs torch alone.

Scripted, traced or exported for TorchScript, torch.export and ONNX; the s3prl export is this very
file beside the weights. Parameters carry the names of fairseq's wav2vec2; the waveform is
normalized inside as in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Transpose(nn.Module):
    """(B, C, T) -> (B, T, C) and back."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, T, C), or back."""
        return x.transpose(1, 2)


def conv_block(inputs: int, layer: list[int], norm: str, bias: bool) -> nn.Sequential:
    """One strided convolution; `norm` is layer, group or none."""
    channels, kernel, stride = layer
    parts: list[nn.Module] = [nn.Conv1d(inputs, channels, kernel, stride, bias=bias), nn.Identity()]
    if norm == "layer":
        parts.append(nn.Sequential(Transpose(), nn.LayerNorm(channels), Transpose()))
    elif norm == "group":
        parts.append(nn.GroupNorm(channels, channels))
    return nn.Sequential(*parts, nn.GELU())


class ConvStack(nn.Module):
    """(B, S) -> (B, T, C)."""

    def __init__(self, layers: list[list[int]], mode: str, bias: bool) -> None:
        super().__init__()
        inputs = [1, *(channels for channels, _, _ in layers)]
        first = "layer" if mode == "layer_norm" else "group"
        later = "layer" if mode == "layer_norm" else "none"
        self.conv_layers = nn.ModuleList(
            conv_block(inputs[number], layer, later if number else first, bias)
            for number, layer in enumerate(layers)
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, S) -> (B, T, C)."""
        x = waveform.unsqueeze(1)  # (B, S) -> (B, 1, S)
        for block in self.conv_layers:
            x = block(x)
        return x.transpose(1, 2)


class PositionalConv(nn.Module):
    """Grouped convolution over frames with weight norm over its taps: (B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.padding, self.groups = kernel // 2, groups
        self.surplus = 1 - kernel % 2  # an even kernel makes one frame too many
        self.weight_g = nn.Parameter(torch.ones(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.ones(width, width // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        norm = self.weight_v.square().sum(dim=(0, 1), keepdim=True).sqrt()
        weight = self.weight_v * (self.weight_g / norm)
        y = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=self.padding, groups=self.groups)
        if self.surplus:
            y = y[:, :, :-1]
        return F.gelu(y.transpose(1, 2))


class SelfAttention(nn.Module):
    """(B, T, D) -> (B, T, D); `attend` is (B, 1, 1, T) bool, True = may be seen."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return x.view(x.shape[0], x.shape[1], self.heads, self.size).transpose(1, 2)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        """(B, T, D) and (B, 1, 1, T) bool, True = attend to it -> (B, T, D)."""
        q, k, v = self.split(self.q_proj(x)), self.split(self.k_proj(x)), self.split(self.v_proj(x))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)
        return self.out_proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """One layer, post-norm or pre-norm."""

    def __init__(self, width: int, inner: int, heads: int, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = SelfAttention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        """(B, T, D) and (B, 1, 1, T) bool, True = attend to it -> (B, T, D)."""
        if self.pre_norm:
            x = x + self.self_attn(self.self_attn_layer_norm(x), attend)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.self_attn(x, attend))
        return self.final_layer_norm(x + self.feed_forward(x))  # type: ignore[no-any-return]

    def feed_forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), each frame by itself."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """(B, T, D) -> the L + 1 hidden states and the context, each (B, T, D)."""

    def __init__(
        self, layers: int, width: int, inner: int, heads: int, pre_norm: bool, kernel: int,
        groups: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pre_norm = pre_norm
        self.pos_conv = nn.Sequential(PositionalConv(width, kernel, groups))
        self.layers = nn.ModuleList(
            TransformerLayer(width, inner, heads, pre_norm) for _ in range(layers)
        )
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, padding: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, T, D) and (B, T) bool, True = padding -> L + 1 of (B, T, D), and the context."""
        x = x.masked_fill(padding.unsqueeze(2), 0.0)
        attend = padding.logical_not().unsqueeze(1).unsqueeze(1)  # (B, T) -> (B, 1, 1, T)
        x = x + self.pos_conv(x)
        if not self.pre_norm:
            x = self.layer_norm(x)
        states = [x]
        for layer in self.layers:
            x = layer(x, attend)
            states.append(x)
        if self.pre_norm:
            x = self.layer_norm(x)
        return states, x


class Encoder(nn.Module):
    """Waveforms as they come from a file, to hidden states."""

    def __init__(
        self,
        conv_layers: list[list[int]],
        extractor_mode: str,
        conv_bias: bool,
        layers: int,
        width: int,
        inner: int,
        heads: int,
        pre_norm: bool,
        conv_pos: int,
        conv_pos_groups: int,
        normalize: bool,
    ) -> None:
        super().__init__()
        self.steps = [(kernel, stride) for _, kernel, stride in conv_layers]
        self.normalize = normalize
        self.floor = 1e-5  # eps of the layer_norm with which fairseq normalizes waveforms
        channels = conv_layers[-1][0]
        self.feature_extractor = ConvStack(conv_layers, extractor_mode, conv_bias)
        self.layer_norm = nn.LayerNorm(channels)
        self.post_extract_proj = nn.Identity() if channels == width else nn.Linear(channels, width)
        self.mask_emb = nn.Parameter(torch.zeros(width))  # for those who fine-tune with masks
        self.encoder = Transformer(layers, width, inner, heads, pre_norm, conv_pos, conv_pos_groups)

    def forward(self, waveform: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode a batch.

        Args:
            waveform: (B, S) fp32.
            padding_mask: (B, S) bool, True = padding, which is at the end of rows.

        Returns:
            the context (B, T, D); the hidden states (L + 1, B, T, D), of which the first is the
            Transformer's input; how many frames of each row are valid, (B,) int64.
        """
        context, states, num_frames = self.encode(waveform, padding_mask)
        return context, torch.stack(states), num_frames

    def encode(self, waveform: Tensor, padding_mask: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """As `forward`, with a list of L + 1 hidden states, (B, T, D) each."""
        samples = padding_mask.logical_not().sum(dim=1)
        x = self.normalized(waveform, padding_mask, samples)
        x = self.post_extract_proj(self.layer_norm(self.feature_extractor(x)))
        num_frames = self.frames(samples)
        padding = torch.arange(x.shape[1], device=x.device).unsqueeze(0) >= num_frames.unsqueeze(1)
        states, context = self.encoder(x, padding)
        return context, states, num_frames

    def normalized(self, waveform: Tensor, padding_mask: Tensor, samples: Tensor) -> Tensor:
        """(B, S) -> (B, S): zero where padded, rows normalized if training had it so."""
        x = waveform.masked_fill(padding_mask, 0.0)
        if not self.normalize:
            return x
        count = samples.unsqueeze(1)
        x = (x - x.sum(dim=1, keepdim=True) / count).masked_fill(padding_mask, 0.0)
        variance = x.square().sum(dim=1, keepdim=True) / count
        return x / (variance + self.floor).sqrt()

    def frames(self, samples: Tensor) -> Tensor:
        """Samples of each row to frames of each row: (B,) -> (B,)."""
        for kernel, stride in self.steps:
            samples = torch.div(samples - kernel, stride, rounding_mode="floor") + 1
        return samples


class CtcModel(nn.Module):
    """An encoder and the symbols that it hears; index 0 is CTC's blank."""

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.proj = nn.Linear(encoder.mask_emb.shape[0], outputs)

    def forward(self, waveform: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) twice -> logits (B, T, V), and how many frames of each row are valid."""
        context, _, num_frames = self.encoder.encode(waveform, padding_mask)
        return self.proj(context), num_frames


class Classifier(nn.Module):
    """An encoder and the class of a whole waveform."""

    def __init__(self, encoder: Encoder, latent: int, outputs: int, activation: str) -> None:
        super().__init__()
        self.encoder, self.activation = encoder, activation
        self.linear = nn.Linear(encoder.mask_emb.shape[0], latent)
        self.projection = nn.Linear(latent, outputs)

    def forward(self, waveform: Tensor, padding_mask: Tensor) -> Tensor:
        """(B, S) twice -> logits (B, N)."""
        context, _, num_frames = self.encoder.encode(waveform, padding_mask)
        return self.classify(context, num_frames)

    def classify(self, context: Tensor, num_frames: Tensor) -> Tensor:
        """The mean over valid frames, (B, T, D), to logits (B, N)."""
        frame = torch.arange(context.shape[1], device=context.device)
        valid = (frame.unsqueeze(0) < num_frames.unsqueeze(1)).to(context.dtype).unsqueeze(2)
        mean = (self.linear(context) * valid).sum(dim=1) / num_frames.unsqueeze(1)
        if self.activation == "gelu":
            mean = F.gelu(mean)
        elif self.activation == "relu":
            mean = F.relu(mean)
        elif self.activation == "tanh":
            mean = torch.tanh(mean)
        return self.projection(mean)  # type: ignore[no-any-return]
