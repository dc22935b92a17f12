"""A state dict in torchaudio's names, and the arguments of `torchaudio.models.wav2vec2_model`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..encoder.geometry import parse_conv_layers
from .folder import write_json
from .parity import Difference, Rows, compare
from .source import CTC, Source

NEEDS = ("torchaudio",)
HEADS = (CTC,)
WEIGHTS, CONFIG = "model.pt", "config.json"


def usage(source: Source) -> str:
    """Code that loads an export."""
    return f"""\
import json, torch, torchaudio

config = json.load(open("DEST/{CONFIG}"))
model = torchaudio.models.wav2vec2_model(**config["model"]).eval()
model.load_state_dict(torch.load("DEST/{WEIGHTS}", weights_only=True))
waveform = torch.randn(1, 16000)  # at config["sample_rate"]
if config["normalize"]:
    waveform = torch.nn.functional.layer_norm(waveform, waveform.shape[1:])
with torch.no_grad():
    features, _ = model.extract_features(waveform)  # per layer (B, T, D)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Write both files, load them into torchaudio's model, and compare."""
    weights = source.weights("torchaudio", "encoder.feature_projection.projection")
    weights |= {name.replace("proj.", "aux."): tensor for name, tensor in source.head.items()}
    config = arguments(source)
    torch.save(weights, folder / WEIGHTS)
    told = {
        "model": config,
        "sample_rate": source.held.sample_rate,
        "normalize": source.held.normalize,
        "labels": list(source.symbols),
    }
    write_json(folder / CONFIG, told)
    model = _model_module().wav2vec2_model(**config).eval().double()
    model.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True), strict=True)
    return compare(source, lambda rows: _said(model, source, rows))


def arguments(source: Source) -> dict[str, Any]:
    """Arguments of wav2vec2_model."""
    config = source.held.config
    return {
        "extractor_mode": "group_norm" if source.group_norm else "layer_norm",
        "extractor_conv_layer_config": [
            list(layer) for layer in parse_conv_layers(config.conv_feature_layers)
        ],
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.encoder_embed_dim,
        "encoder_projection_dropout": config.dropout_input,
        "encoder_pos_conv_kernel": config.conv_pos,
        "encoder_pos_conv_groups": config.conv_pos_groups,
        "encoder_num_layers": config.encoder_layers,
        "encoder_num_heads": config.encoder_attention_heads,
        "encoder_attention_dropout": config.attention_dropout,
        "encoder_ff_interm_features": config.encoder_ffn_embed_dim,
        "encoder_ff_interm_dropout": config.activation_dropout,
        "encoder_dropout": config.dropout,
        "encoder_layer_norm_first": config.layer_norm_first,
        "encoder_layer_drop": config.encoder_layerdrop,
        "aux_num_out": len(source.symbols) or None,
    }


def _said(model: Any, source: Source, rows: Rows) -> dict[str, Tensor]:
    """What torchaudio's model says; it has no name for the Transformer's input."""
    lengths = (~rows.padding_mask).sum(dim=1)
    waveform = rows.waveform.double()
    layers, _ = model.extract_features(waveform, lengths)
    top, _ = model(waveform, lengths)
    said = {f"layer {number}": state for number, state in enumerate(layers, start=1)}
    return {**said, "logits" if source.head else "context": top}


def _model_module() -> ModuleType:
    """The files of torchaudio's wav2vec 2.0, without the rest of it.

    torchaudio's own library does not load beside a torch without CUDA; its models need none of it.
    """
    name = "_torchaudio_wav2vec2"
    if name not in sys.modules:
        spec = importlib.util.find_spec("torchaudio")
        assert spec is not None and spec.submodule_search_locations
        package = ModuleType(name)
        package.__path__ = [str(Path(spec.submodule_search_locations[0], "models", "wav2vec2"))]
        sys.modules[name] = package
    return importlib.import_module(f"{name}.model")
