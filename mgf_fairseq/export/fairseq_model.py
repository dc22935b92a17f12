"""A checkpoint of fairseq's own models: it loads, and fine-tunes, without this package.

The encoder becomes a wav2vec2, inside of a fine-tuned model too; heads and decoders stay.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ..checkpoints.encoder import read_encoder
from ..checkpoints.reading import LAST, CheckpointError, config_of, read_checkpoint
from ..checkpoints.symbols import held_dictionary
from ..data.label_format import dictionary_line
from ..encoder.config import EncoderConfig
from ..extract.encoder import build_encoder
from .parity import Difference, Rows, compare
from .source import Source

NEEDS: tuple[str, ...] = ()
HEADS: tuple[str, ...] = ()  # kept as they are, whatever they are
# What fairseq wants to find in any checkpoint; how many updates there were is not among it.
NO_HISTORY: dict[str, Any] = {"optimizer_name": "", "lr_scheduler_state": {}}


def usage(source: Source) -> str:
    """Code that loads an export."""
    return f"""\
from fairseq import checkpoint_utils

models, config, task = checkpoint_utils.load_model_ensemble_and_task(
    ["DEST/{LAST}"], {{"data": "DEST"}}  # dict.*.txt of a fine-tuned model is in it
)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Write the checkpoint, read it back, and compare.

    Raises:
        CheckpointError: it is fairseq's own already.
    """
    state = read_checkpoint(source.path)
    config: Any = OmegaConf.to_container(config_of(state, source.path))
    inner = (config.get("model") or {}).get("w2v_args")
    if source.held.kind != "mgf":
        raise CheckpointError(
            f"{source.path}: its encoder is fairseq's own {source.held.kind} already; use it as it "
            "is"
        )
    pretraining = pretraining_config(source)
    if inner:
        config["model"]["w2v_args"] = pretraining
        config["common"] = {**(config.get("common") or {}), "user_dir": None}
        weights = state["model"]
    else:
        config = pretraining
        weights = {**source.held.weights, **unused_heads(source)}
    # Only plain containers and tensors, which is all that torch.load reads by itself: the symbols
    # of a fine-tuned model are written as the file that fairseq looks for in task.data.
    symbols = held_dictionary(state)
    if inner and symbols is not None:
        _write_symbols(symbols, folder / f"dict.{config['task']['labels']}.txt")
    history = (state.get("optimizer_history") or [{}])[-1]
    torch.save(
        {
            "args": None,
            "cfg": config,
            "model": weights,
            "extra_state": {},
            "optimizer_history": [{**NO_HISTORY, **history}],
            "task_state": {},
        },
        folder / LAST,
    )
    read = build_encoder(read_encoder(folder / LAST), folder / LAST).encoder.eval()

    def said(rows: Rows) -> dict[str, Tensor]:
        encoded, _ = read.double().encode(rows.waveform.double(), rows.padding_mask)
        layers = {f"layer {n}": state for n, state in enumerate(encoded.hidden_states)}
        return {**layers, "context": encoded.context}

    return compare(source, said)


def _write_symbols(symbols: Any, path: Path) -> None:
    """Write a dictionary; its own `save` fails where there are no special symbols (classes)."""
    lines = zip(symbols.symbols, symbols.count, strict=True)
    text = [dictionary_line(*line) for line in lines][getattr(symbols, "nspecial", 0) :]
    path.write_text("".join(text), encoding="utf-8")


def pretraining_config(source: Source) -> dict[str, Any]:
    """What fairseq builds a wav2vec2 of this shape from; the rest are its defaults."""
    seed = source.held.history.get("seed") or 1
    return {
        "common": {"seed": seed},
        "task": {
            "_name": "audio_pretraining",
            "data": "",
            "sample_rate": source.held.sample_rate,
            "normalize": source.held.normalize,
            "seed": seed,
            "tpu": False,
        },
        "model": {"_name": "wav2vec2", **plain_config(source.held.config)},
        "criterion": {"_name": "wav2vec"},
    }


def plain_config(config: EncoderConfig) -> dict[str, Any]:
    """The encoder's fields, without those of a class derived from `EncoderConfig`."""
    return asdict(
        EncoderConfig(**{name: getattr(config, name) for name in asdict(EncoderConfig())})
    )


def unused_heads(source: Source) -> dict[str, Tensor]:
    """Zeros for the two projections that fairseq's wav2vec2 always has for its own objective."""
    config = source.held.config
    width = config.encoder_embed_dim
    latents = len(source.held.weights["layer_norm.weight"])
    return {
        "project_q.weight": torch.zeros(width, latents),
        "project_q.bias": torch.zeros(width),
        "final_proj.weight": torch.zeros(width, width),
        "final_proj.bias": torch.zeros(width),
    }
