"""The speech encoder: waveform to latents (feature extractor) to context (Transformer).

Parameters carry the names of fairseq's ``wav2vec2`` so that weights, exports and fine-tuning
recipes fit; objectives read its output, and it is the part that downstream users keep. It knows
no configuration: build.py makes its parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..types import EncoderOutput
from ..utils.rng import generator
from .convolution import norm_channels
from .geometry import ConvGeometry
from .masking import SpanMask, draw_masks
from .padding import num_samples_of, padding_mask_of
from .transformer import TransformerEncoder

LAYERS = 2  # axis of the random numbers of layerdrop; frames are 0, channels 1


@dataclass(frozen=True)
class EncoderParts:
    """The modules and numbers that an encoder consists of; build.py makes them of a config."""

    geometry: ConvGeometry
    feature_extractor: nn.Module  # (B, S) -> (B, T, C)
    latent_dim: int  # C
    layer_norm: nn.Module  # of latents
    projection: nn.Linear | None  # C -> D, where they differ
    mask_embedding: nn.Parameter  # (D,) takes the place of masked frames
    transformer: TransformerEncoder
    frame_spans: SpanMask
    channel_spans: SpanMask
    mask_channel_before: bool = False  # mask channels before frames
    dropout_input: float = 0.0
    feature_grad_mult: float = 1.0  # scale of gradients into the feature extractor; 0 freezes it


class SpeechEncoder(nn.Module):
    """Waveform in, :class:`~mgf_fairseq.types.EncoderOutput` out.

    In the default ``layer_norm`` mode padding never changes a valid frame. Masks are drawn by
    :mod:`mgf_fairseq.encoder.masking` from (``mask_seed``, ``mask_update``, row).
    """

    def __init__(self, parts: EncoderParts) -> None:
        super().__init__()
        self.geometry, self.latent_dim = parts.geometry, parts.latent_dim
        self.feature_grad_mult = parts.feature_grad_mult
        self.mask_channel_before = parts.mask_channel_before
        self.frame_spans, self.channel_spans = parts.frame_spans, parts.channel_spans
        # The order decides that of an optimizer's state, and the names are those of wav2vec2.
        self.feature_extractor = parts.feature_extractor
        # Frozen outright, so that DDP does not wait for gradients that never come.
        self.feature_extractor.requires_grad_(parts.feature_grad_mult > 0.0)
        self.layer_norm = parts.layer_norm
        self.post_extract_proj = parts.projection
        self.dropout_input = nn.Dropout(parts.dropout_input)
        self.mask_emb = parts.mask_embedding
        self.encoder = parts.transformer
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
        masks = self._draw_masks(num_frames, width, row_id, update) if mask else None
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
                "skip it (min_sample_size) or pad the recording"
            )
        return frames, self.geometry.num_frames(width)

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
        rng = generator(self.mask_seed, 0, update, LAYERS)
        return rng.random(len(self.encoder.layers)).tolist()  # type: ignore[no-any-return]

    def _apply_masks(self, x: Tensor, frame: Tensor, channel: Tensor | None) -> Tensor:
        """Put ``mask_emb`` on masked frames and zero on masked channels of x (B, T, D)."""
        if channel is not None and self.mask_channel_before:
            x = x.masked_fill(channel[:, None, :], 0.0)
        x = torch.where(frame[..., None], self.mask_emb.to(x.dtype), x)
        if channel is not None and not self.mask_channel_before:
            x = x.masked_fill(channel[:, None, :], 0.0)
        return x
