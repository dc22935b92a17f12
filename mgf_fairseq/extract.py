"""Hidden states of every layer from any checkpoint with an MGF or wav2vec 2.0 encoder.

``load_encoder(path)(waveforms)`` is all there is; the waveforms come from wherever you have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .checkpoint import CheckpointError, config_of, read_checkpoint
from .encoder import EncoderConfig, SpeechEncoder
from .lengths import padding_mask_of

_ENCODERS = ("mgf", "wav2vec2")
# What pre-training has beside the encoder: MGF's objectives, wav2vec 2.0's quantiser and heads.
_HEADS = ("objectives.", "quantizer.", "project_q.", "final_proj.", "target_glu.", "_ema")
_PREFIXES = ("w2v_encoder.w2v_model.", "encoder.w2v_model.")  # wav2vec_ctc, wav2vec_seq2seq


@dataclass(frozen=True)
class Features:
    """What an encoder says about a batch."""

    hidden_states: list[Tensor]  # L + 1 of (B, T, D): the Transformer's input, then each layer
    lengths: Tensor  # (B,) int64 valid frames per waveform
    frame_rate: float  # frames per second


class LoadedEncoder(nn.Module):
    """An encoder with the sample rate and the normalisation that it was trained with."""

    def __init__(self, encoder: SpeechEncoder, sample_rate: int, normalize: bool) -> None:
        super().__init__()
        self.encoder = encoder.eval()
        self.sample_rate, self.normalize = sample_rate, normalize

    @torch.no_grad()
    def forward(self, waveforms: Sequence[Tensor | npt.NDArray[np.floating[Any]]]) -> Features:
        """Encode waveforms of (S,) each, mono at ``sample_rate``; any lengths.

        A batch gives what each waveform alone gives; with group norm in the conv stack (wav2vec
        2.0 Base), where padding would change valid frames, waveforms are encoded one by one.

        Raises:
            ValueError: a waveform is not one-dimensional, or shorter than the receptive field.
        """
        device = self.encoder.mask_emb.device
        rows = [torch.as_tensor(w, dtype=torch.float32, device=device) for w in waveforms]
        for number, row in enumerate(rows):
            if row.dim() != 1:
                raise ValueError(
                    f"waveform {number} has shape {tuple(row.shape)}; give (S,), one channel"
                )
        if self.normalize:
            rows = [F.layer_norm(row, row.shape) for row in rows]
        norms = self.encoder.feature_extractor.modules()
        if any(isinstance(module, nn.GroupNorm) for module in norms):
            parts = [self._encode([row]) for row in rows]
            states = [_stack([part[0][k] for part in parts]) for k in range(len(parts[0][0]))]
            lengths = torch.cat([part[1] for part in parts])
        else:
            states, lengths = self._encode(rows)
        return Features(states, lengths, self.sample_rate / self.encoder.geometry.hop_length)

    def _encode(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], source.device)
        encoded, _ = self.encoder.encode(source, mask)
        return encoded.hidden_states, encoded.num_frames


def _stack(parts: list[Tensor]) -> Tensor:
    """Pad (1, T, D) tensors to one (B, T, D)."""
    return nn.utils.rnn.pad_sequence([part[0] for part in parts], batch_first=True)


def load_encoder(path: str | Path) -> LoadedEncoder:
    """Load the encoder of a checkpoint, without running code from it.

    Takes MGF's and fairseq's wav2vec 2.0 checkpoints, pre-trained or fine-tuned with fairseq's
    ``wav2vec_ctc``, ``wav2vec_seq2seq`` or ``wav2vec_classification``.

    Raises:
        CheckpointError: the file is missing, unsafe to load, or of another kind.
    """
    path = Path(path)
    state = read_checkpoint(path)
    config = config_of(state, path)
    weights: dict[str, Tensor] = state["model"]
    prefix = next((p for p in _PREFIXES if any(k.startswith(p) for k in weights)), "")
    if prefix:
        config = OmegaConf.create(config.model.w2v_args, flags={"allow_objects": True})
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    name = OmegaConf.select(config, "model._name")
    if name not in _ENCODERS:
        raise CheckpointError(f"{path}: holds a model {name!r}; give one of {', '.join(_ENCODERS)}")
    encoder = SpeechEncoder(encoder_config(config.model))
    kept = {k: v for k, v in weights.items() if not k.startswith(_HEADS)}
    try:
        encoder.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: its encoder is not of this form: {reason}") from None
    return LoadedEncoder(encoder, int(config.task.sample_rate), bool(config.task.normalize))


def encoder_config(config: DictConfig) -> EncoderConfig:
    """Pick the encoder's keys out of a model's configuration; MGF shares wav2vec 2.0's names."""
    known = {f.name for f in fields(EncoderConfig)}
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return EncoderConfig(**{str(k): v for k, v in values.items() if k in known})
