"""The encoder that a checkpoint holds: its configuration, its weights and its training history.

Reads MGF, wav2vec 2.0 and HuBERT checkpoints, pre-trained or fine-tuned; `extract` builds encoders
from what is returned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ..encoder.config import EncoderConfig
from .files import CheckpointError, interpreting
from .reading import ENCODERS, config_of, find_checkpoint, read_checkpoint

# What pre-training has beside the encoder: MGF's objectives, wav2vec 2.0's quantizer and heads,
# HuBERT's label embeddings.
_HEADS = (
    *("objectives.", "quantizer.", "project_q.", "final_proj.", "target_glu.", "_ema"),
    "label_embs_concat",
)
_PREFIXES = ("w2v_encoder.w2v_model.", "encoder.w2v_model.")  # *_ctc, *_seq2seq


@dataclass(frozen=True)
class EncoderCheckpoint:
    """What a checkpoint says of its encoder."""

    kind: str  # of reading.PRETRAINED
    config: EncoderConfig
    weights: dict[str, Tensor] = field(repr=False)  # of the encoder alone
    sample_rate: int  # Hz
    normalize: bool
    history: dict[str, Any]  # how it was trained, where the checkpoint says so


def read_encoder(path: str | Path, kinds: Sequence[str] = ENCODERS) -> EncoderCheckpoint:
    """Read what a checkpoint says of its encoder, without building it.

    Args:
        path: of the checkpoint, or the folder of its run.
        kinds: names of models that are accepted.

    Raises:
        CheckpointError: the file is missing, unsafe to load, or of another kind.
    """
    path = find_checkpoint(path)
    state = read_checkpoint(path)
    with interpreting(path):
        return _encoder_of(state, path, kinds)


def _encoder_of(state: dict[str, Any], path: Path, kinds: Sequence[str]) -> EncoderCheckpoint:
    config = outer = config_of(state, path)
    weights: dict[str, Tensor] = state["model"]
    prefix = encoder_prefix(weights)
    if prefix:
        if not OmegaConf.select(outer, "model.w2v_args"):
            raise CheckpointError(
                f"{path}: fine-tuned, but without the configuration of its encoder (w2v_args); "
                "give the checkpoint that fairseq-hydra-train saved"
            )
        config = OmegaConf.create(outer.model.w2v_args, flags={"allow_objects": True})
        weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    kind = OmegaConf.select(config, "model._name")
    if kind not in kinds:
        raise CheckpointError(f"{path}: holds a model {kind!r}; give one of {', '.join(kinds)}")
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


def encoder_prefix(weights: Mapping[str, Tensor]) -> str:
    """What the names of the encoder's weights begin with; empty where it is not fine-tuned."""
    return next((p for p in _PREFIXES if any(name.startswith(p) for name in weights)), "")


def _history(state: dict[str, Any], config: DictConfig, fine_tuned: bool) -> dict[str, Any]:
    """How an encoder was trained; None where the checkpoint does not say.

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
