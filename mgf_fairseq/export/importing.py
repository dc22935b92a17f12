"""The other way: a wav2vec 2.0 or HuBERT of transformers or fairseq becomes a checkpoint of ours.

It has no objectives: it is fine-tuned, extracted from, evaluated and exported as ours are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.encoder import EncoderCheckpoint, read_encoder
from ..checkpoints.files import FORMAT_KEY, FORMAT_VERSION, interpreting
from ..checkpoints.reading import CheckpointError, find_checkpoint
from ..checkpoints.transformers_folder import is_transformers, read_transformers
from ..extract.encoder import build_encoder
from .fairseq_model import NO_HISTORY, plain_config
from .folder import MARKER, new_folder, write_json

FILE = "checkpoint_last.pt"


@dataclass(frozen=True)
class Imported:
    """What has been written."""

    dest: Path
    kind: str  # huggingface or fairseq
    layers: int
    width: int
    sample_rate: int
    normalize: bool
    skipped: list[str]  # heads that an encoder does not have
    notes: list[str]  # what the source did not say, and what was taken


def import_model(path: Path | str, dest: Path | str) -> Imported:
    """Write a run's folder with one checkpoint, made of another framework's model.

    Args:
        path: a folder of transformers (config.json), or a checkpoint of fairseq's wav2vec 2.0 or
            HuBERT, or the folder of its run.
        dest: folder to write; if it exists, it must be empty or of an earlier import.

    Raises:
        ValueError: it is of another kind; the message says which. Nothing is written then.
    """
    path, dest = Path(path), Path(dest)
    if is_transformers(path):
        kind = "huggingface"
        with interpreting(path):
            held, skipped, notes = read_transformers(path)
    else:
        kind, skipped, notes = "fairseq", [], []
        path = find_checkpoint(path)
        held = read_encoder(path)
        if held.kind == "mgf":
            raise CheckpointError(f"{path}: a checkpoint of this package already; use it as it is")
    with interpreting(path):
        build_encoder(held, path)  # names and shapes fit
    with new_folder(dest) as folder:
        torch.save(checkpoint_of(held), folder / FILE)
        result = Imported(
            dest,
            kind,
            held.config.encoder_layers,
            held.config.encoder_embed_dim,
            held.sample_rate,
            held.normalize,
            skipped,
            notes,
        )
        write_json(folder / MARKER, {**vars(result), "dest": None, "from": path.name})
    return result


def checkpoint_of(held: EncoderCheckpoint) -> dict[str, Any]:
    """What fairseq's trainer would save of an MGF without objectives."""
    seed = held.history.get("seed") or 1
    rate = held.sample_rate
    task = {"_name": "mgf_pretraining", "data": "", "sample_rate": rate, "seed": seed}
    model = {"_name": "mgf", **plain_config(held.config), "objectives": None}
    return {
        "args": None,
        "cfg": {
            "common": {"seed": seed},
            "task": {**task, "normalize": held.normalize},
            "model": {**model, "sample_rate": rate, "seed": seed},
            "criterion": None,
            "lr_scheduler": None,
            "optimizer": None,
        },
        "model": held.weights,
        "optimizer_history": [NO_HISTORY],
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}},
        "task_state": {},
        FORMAT_KEY: FORMAT_VERSION,
    }
