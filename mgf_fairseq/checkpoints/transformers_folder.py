"""A wav2vec 2.0 or HuBERT as transformers saves it: config.json and weights, read as an encoder.

`mgf import` makes a checkpoint of it, and a training may begin from it (initial.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..encoder.config import EncoderConfig
from .encoder import EncoderCheckpoint
from .files import CheckpointError
from .keymap import rename

_TYPES = ("wav2vec2", "hubert")  # model_type
# What these models have beside the encoder.
_HEADS = (
    *("lm_head", "projector", "classifier", "quantizer", "project_q", "project_hid"),
    "layer_weights",
)
# What our encoder does in one way only; the default is transformers'.
_FIXED: dict[str, tuple[Any, Any]] = {  # key -> (only value, default)
    "hidden_act": ("gelu", "gelu"),
    "feat_extract_activation": ("gelu", "gelu"),
    "layer_norm_eps": (1e-5, 1e-5),
    "add_adapter": (False, False),
    "adapter_attn_dim": (None, None),
    "conv_pos_batch_norm": (False, False),
    "feat_proj_layer_norm": (True, True),
}


class TransformersModel(NamedTuple):
    """What such a folder holds."""

    encoder: EncoderCheckpoint
    heads: dict[str, Tensor]  # what an encoder does not have, under transformers' names
    config: dict[str, Any]  # config.json
    notes: list[str]  # what the folder did not say, and what was taken


def is_transformers(path: Path) -> bool:
    """Whether a path is a folder as transformers saves models."""
    return (path / "config.json").is_file()


def read_transformers(folder: Path) -> TransformersModel:
    """Read such a folder.

    Raises:
        CheckpointError: it is of another kind, or a file of it is missing or broken.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    if kind not in _TYPES:
        raise CheckpointError(f"{folder}: a {kind!r} of transformers; give {' or '.join(_TYPES)}")
    for key, (only, default) in _FIXED.items():
        if config.get(key, default) != only:
            raise CheckpointError(f"{folder}: {key}={config[key]} in config.json; only {only} fits")
    shape = encoder_config(config)
    weights, heads = _encoder_weights(_read_weights(folder), shape, folder)
    notes = []
    if "mask_emb" not in weights:
        notes.append("no masked_spec_embed: mask_emb, which only training reads, is zero")
        weights["mask_emb"] = torch.zeros(shape.encoder_embed_dim)
    rate, normalize = 16000, True  # transformers' defaults
    preprocessor = folder / "preprocessor_config.json"
    if preprocessor.is_file():
        said = json.loads(preprocessor.read_text(encoding="utf-8"))
        rate, normalize = int(said.get("sampling_rate", rate)), bool(said.get("do_normalize", True))
    else:
        notes.append(f"no preprocessor_config.json: {rate} Hz and normalized input are assumed")
    held = EncoderCheckpoint("mgf", shape, weights, rate, normalize, {})
    return TransformersModel(held, heads, config, notes)


def encoder_config(config: dict[str, Any]) -> EncoderConfig:
    """Our configuration of a wav2vec2 or hubert of transformers; defaults are transformers'."""
    layers = zip(
        config.get("conv_dim", [512] * 7),
        config.get("conv_kernel", [10, 3, 3, 3, 3, 2, 2]),
        config.get("conv_stride", [5, 2, 2, 2, 2, 2, 2]),
        strict=True,
    )
    grouped = config.get("feat_extract_norm", "group") == "group"
    return EncoderConfig(
        extractor_mode="default" if grouped else "layer_norm",
        conv_feature_layers=str([tuple(layer) for layer in layers]),
        conv_bias=bool(config.get("conv_bias", False)),
        encoder_layers=config.get("num_hidden_layers", 12),
        encoder_embed_dim=config.get("hidden_size", 768),
        encoder_ffn_embed_dim=config.get("intermediate_size", 3072),
        encoder_attention_heads=config.get("num_attention_heads", 12),
        layer_norm_first=bool(config.get("do_stable_layer_norm", False)),
        conv_pos=config.get("num_conv_pos_embeddings", 128),
        conv_pos_groups=config.get("num_conv_pos_embedding_groups", 16),
        dropout=config.get("hidden_dropout", 0.1),
        attention_dropout=config.get("attention_dropout", 0.1),
        activation_dropout=config.get("activation_dropout", 0.1),
        dropout_input=config.get("feat_proj_dropout", 0.0),
        encoder_layerdrop=config.get("layerdrop", 0.1),
    )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ImportError:
            raise CheckpointError(
                f"{folder}: safetensors is not installed; pip install '.[export]'"
            ) from None
        try:
            return {name: tensor for file in files for name, tensor in load_file(file).items()}
        except SafetensorError as error:
            raise CheckpointError(f"{folder}: cut short or changed ({error})") from None
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        raise CheckpointError(f"{folder}: neither model.safetensors nor pytorch_model.bin is there")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 (spoiled bytes make an unpickler raise anything)
        raise CheckpointError(f"{path}: refused, no file of plain tensors") from None
    return dict(held)


def _encoder_weights(
    weights: dict[str, Tensor], config: EncoderConfig, folder: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder's parameters under our names, and what else there is under transformers'."""
    kept: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        name = key.removeprefix("wav2vec2.").removeprefix("hubert.")
        part = heads if name.split(".")[0] in _HEADS else kept
        part[name] = tensor.float()
    renamed = rename(kept, "huggingface", "fairseq", config.extractor_mode == "default")
    width = config.encoder_embed_dim
    if len(renamed["layer_norm.weight"]) == width:  # then fairseq's encoder has no projection
        weight, bias = (renamed.pop(f"post_extract_proj.{end}") for end in ("weight", "bias"))
        if not torch.equal(weight, torch.eye(width)) or bool(bias.any()):
            raise CheckpointError(
                f"{folder}: its feature projection maps {width} to {width}, which fairseq's "
                "encoders leave out; it cannot be imported"
            )
    return renamed, heads
