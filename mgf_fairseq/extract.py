"""Hidden states of every layer from any checkpoint with an MGF, wav2vec 2.0 or HuBERT encoder.

``load_encoder(path)(waveforms)`` is all there is; the waveforms come from wherever you have them.
upstream.py puts baselines beside it, feature_store.py writes what it says to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .checkpoint import CheckpointError, config_of, read_checkpoint, require_fit
from .checkpoint_files import interpreting
from .encoder import EncoderConfig, SpeechEncoder
from .lengths import padding_mask_of

Waveform = Tensor | npt.NDArray[np.floating[Any]]

ENCODERS = ("mgf", "wav2vec2", "hubert")
# What pre-training has beside the encoder: MGF's objectives, wav2vec 2.0's quantiser and heads,
# HuBERT's label embeddings.
_HEADS = (
    *("objectives.", "quantizer.", "project_q.", "final_proj.", "target_glu.", "_ema"),
    "label_embs_concat",
)
_PREFIXES = ("w2v_encoder.w2v_model.", "encoder.w2v_model.")  # *_ctc, *_seq2seq


@dataclass(frozen=True)
class Features:
    """What an encoder says about a batch."""

    hidden_states: list[Tensor]  # L + 1 of (B, T, D): the Transformer's input, then each layer
    lengths: Tensor  # (B,) int64 valid frames per waveform
    frame_rate: float  # frames per second


@dataclass(frozen=True)
class EncoderCheckpoint:
    """What a checkpoint says of its encoder."""

    kind: str  # of ENCODERS
    config: EncoderConfig
    weights: dict[str, Tensor] = field(repr=False)  # of the encoder alone
    sample_rate: int  # Hz
    normalize: bool
    history: dict[str, Any]  # how it was trained, where the checkpoint says so


class LoadedEncoder(nn.Module):
    """An encoder with the sample rate and the normalisation that it was trained with."""

    def __init__(self, encoder: SpeechEncoder, sample_rate: int, normalize: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.geometry, self.width = encoder.geometry, encoder.mask_emb.numel()
        self.hop_length = self.geometry.hop_length
        self.sample_rate, self.normalize = sample_rate, normalize
        norms = encoder.feature_extractor.modules()
        self.one_by_one = any(isinstance(module, nn.GroupNorm) for module in norms)
        self.eval()

    @torch.no_grad()
    def forward(self, waveforms: Sequence[Waveform]) -> Features:
        """Encode waveforms of (S,) each, mono at ``sample_rate``; any lengths.

        A batch gives what each waveform alone gives; with group norm in the conv stack (wav2vec
        2.0 and HuBERT Base), where padding would change valid frames, waveforms are encoded one
        by one.

        Raises:
            ValueError: a waveform is not one-dimensional, or shorter than the receptive field.
        """
        rows = as_rows(waveforms, self.encoder.mask_emb.device)
        if self.normalize:
            rows = [F.layer_norm(row, row.shape) for row in rows]
        with _full_precision():
            parts = [self._encode([row]) for row in rows] if self.one_by_one else []
            states, lengths = _join(parts) if parts else self._encode(rows)
        return Features(states, lengths, self.sample_rate / self.hop_length)

    def _encode(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], source.device)
        encoded, _ = self.encoder.encode(source, mask)
        return encoded.hidden_states, encoded.num_frames


def as_rows(waveforms: Sequence[Waveform], device: torch.device) -> list[Tensor]:
    """Bring waveforms to the device as fp32.

    Raises:
        ValueError: there is none, or one is not one-dimensional.
    """
    rows = [torch.as_tensor(w, dtype=torch.float32, device=device) for w in waveforms]
    if not rows:
        raise ValueError("no waveform given; give a list of (S,) waveforms, one channel each")
    for number, row in enumerate(rows):
        if row.dim() != 1:
            raise ValueError(
                f"waveform {number} has shape {tuple(row.shape)}; give (S,), one channel"
            )
    return rows


@contextmanager
def _full_precision() -> Iterator[None]:
    """Keep a GPU's convolutions from TF32, whose 1e-3 would set batches apart from singles."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _join(parts: list[tuple[list[Tensor], Tensor]]) -> tuple[list[Tensor], Tensor]:
    """Pad what single rows gave, L + 1 of (1, T, D) and (1,) each, to one batch."""
    layers = zip(*(states for states, _ in parts), strict=True)
    states = [
        nn.utils.rnn.pad_sequence([state[0] for state in layer], batch_first=True)
        for layer in layers
    ]
    return states, torch.cat([lengths for _, lengths in parts])


def load_encoder(path: str | Path) -> LoadedEncoder:
    """Load the encoder of a checkpoint, without running code from it.

    Takes MGF's and fairseq's wav2vec 2.0 and HuBERT checkpoints, pre-trained or fine-tuned with
    fairseq's ``*_ctc``, ``*_seq2seq`` or ``wav2vec_classification``.

    Raises:
        CheckpointError: the file is missing, unsafe to load, or of another kind.
    """
    return build_encoder(read_encoder(path), path)


def build_encoder(held: EncoderCheckpoint, path: str | Path) -> LoadedEncoder:
    """Build the encoder that ``read_encoder`` found in the file at ``path``.

    Raises:
        CheckpointError: configuration and weights differ.
    """
    with interpreting(path):
        require_fit(held.config, held.weights, path)
        encoder = SpeechEncoder(held.config)
    try:
        encoder.load_state_dict(held.weights, strict=True)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: its encoder is not of this form: {reason}") from None
    return LoadedEncoder(encoder, held.sample_rate, held.normalize)


def read_encoder(path: str | Path) -> EncoderCheckpoint:
    """Read what a checkpoint says of its encoder, without building it.

    Raises:
        CheckpointError: the file is missing, unsafe to load, or of another kind.
    """
    path = Path(path)
    state = read_checkpoint(path)
    with interpreting(path):
        return _encoder_of(state, path)


def _encoder_of(state: dict[str, Any], path: Path) -> EncoderCheckpoint:
    config = outer = config_of(state, path)
    weights: dict[str, Tensor] = state["model"]
    prefix = next((p for p in _PREFIXES if any(k.startswith(p) for k in weights)), "")
    if prefix:
        if not OmegaConf.select(outer, "model.w2v_args"):
            raise CheckpointError(
                f"{path}: fine-tuned, but without the configuration of its encoder (w2v_args); "
                "give the checkpoint that fairseq-hydra-train saved"
            )
        config = OmegaConf.create(outer.model.w2v_args, flags={"allow_objects": True})
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    kind = OmegaConf.select(config, "model._name")
    if kind not in ENCODERS:
        raise CheckpointError(f"{path}: holds a model {kind!r}; give one of {', '.join(ENCODERS)}")
    activation = str(OmegaConf.select(config, "model.activation_fn") or "gelu")
    if activation != "gelu":
        raise CheckpointError(f"{path}: activation_fn={activation}; only gelu is supported")
    return EncoderCheckpoint(
        kind=kind,
        config=encoder_config(config.model),
        weights={k: v for k, v in weights.items() if not k.startswith(_HEADS)},
        sample_rate=int(config.task.sample_rate),
        normalize=bool(config.task.normalize),
        history=_history(state, config, fine_tuned=bool(prefix)),
    )


def _history(state: dict[str, Any], config: DictConfig, fine_tuned: bool) -> dict[str, Any]:
    """Tell how an encoder was trained; None where the checkpoint does not say.

    Updates, seconds and hours of audio are those of the run that saved the checkpoint; seed,
    objectives and weights those of pre-training.
    """
    extra = state.get("extra_state") or {}
    meters = dict(extra.get("metrics") or {}).get("default") or []
    hours = next((meter[3].get("sum") for meter in meters if meter[1] == "audio_h"), None)
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates")
    seconds = extra.get("previous_training_time")

    def plain(key: str) -> Any:
        value = OmegaConf.select(config, key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    return {
        "num_updates": None if updates is None else int(updates),
        "audio_hours": None if hours is None else float(hours),
        "train_seconds": None if seconds is None else float(seconds),
        "seed": plain("common.seed"),
        "fine_tuned": fine_tuned,
        "objectives": plain("model.objectives"),
        "loss_weights": plain("criterion.loss_weights"),
        "gradient_shares": plain("criterion.gradient_shares"),
    }


def encoder_config(config: DictConfig) -> EncoderConfig:
    """Pick the encoder's keys out of a model's configuration; all kinds share wav2vec 2.0's."""
    known = {f.name for f in fields(EncoderConfig)}
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return EncoderConfig(**{str(k): v for k, v in values.items() if k in known})
