"""The other way: a wav2vec 2.0 or HuBERT of transformers or fairseq becomes a checkpoint of ours.

It has no objectives: it is fine-tuned, extracted from, evaluated and exported as ours are. With
its head it is what fairseq's fine-tuning would have saved: a recognizer or a classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.encoder import EncoderCheckpoint, read_encoder
from ..checkpoints.files import FORMAT_KEY, FORMAT_VERSION, interpreting
from ..checkpoints.reading import LAST, CheckpointError, find_checkpoint
from ..checkpoints.transformers_folder import is_transformers, read_transformers
from ..extract.encoder import build_encoder
from .fairseq_model import NO_HISTORY, plain_config
from .folder import MARKER, new_folder, write_json
from .imported_heads import Head, read_head

_TASKS = {"wav2vec_ctc": "ctc", "wav2vec_classification": "classifier"}


@dataclass(frozen=True)
class Imported:
    """What has been written."""

    dest: Path
    kind: str  # huggingface or fairseq
    layers: int
    width: int
    sample_rate: int
    normalize: bool
    task: str  # encoder, ctc or classifier
    symbols: int  # outputs of the head
    skipped: list[str]  # heads that an encoder does not have
    notes: list[str]  # what the source did not say, and what was taken


def import_model(path: Path | str, dest: Path | str, head: bool = False) -> Imported:
    """Write a run's folder with one checkpoint, made of another framework's model.

    Args:
        path: a folder of transformers (config.json), or a checkpoint of fairseq's wav2vec 2.0 or
            HuBERT, or the folder of its run.
        dest: folder to write; if it exists, it must be empty or of an earlier import.
        head: keep the CTC or classifying head of a folder of transformers.

    Raises:
        ValueError: it is of another kind; the message says which. Nothing is written then.
    """
    path, dest = Path(path), Path(dest)
    kept, skipped, notes = None, [], []
    if is_transformers(path):
        kind = "huggingface"
        with interpreting(path):
            found = read_transformers(path)
            held, notes = found.encoder, found.notes
            if head:
                kept = read_head(found, path)
            else:
                skipped = sorted({name.split(".")[0] for name in found.heads})
    else:
        kind, path = "fairseq", find_checkpoint(path)
        held = read_encoder(path)
        _require_foreign(held, path, head)
        skipped = ["the fine-tuned head"] if held.history["fine_tuned"] else []
    with interpreting(path):
        build_encoder(held, path)  # names and shapes fit
    state = checkpoint_of(held) if kept is None else _fine_tuned(checkpoint_of(held), kept)
    with new_folder(dest) as folder:
        torch.save(state, folder / LAST)
        result = Imported(
            dest,
            kind,
            held.config.encoder_layers,
            held.config.encoder_embed_dim,
            held.sample_rate,
            held.normalize,
            "encoder" if kept is None else _TASKS[kept.model],
            0 if kept is None else len(kept.symbols),
            skipped,
            notes,
        )
        write_json(folder / MARKER, {**vars(result), "dest": None, "from": path.name})
    return result


def _require_foreign(held: EncoderCheckpoint, path: Path, head: bool) -> None:
    """Refuse what needs no import.

    Raises:
        CheckpointError: a checkpoint of ours, or a fine-tuned one of fairseq.
    """
    if held.kind == "mgf":
        raise CheckpointError(f"{path}: a checkpoint of this package already; use it as it is")
    if head:
        raise CheckpointError(
            f"{path}: --head is for folders of transformers; mgf transcribe and mgf classify read "
            "fairseq's fine-tuned checkpoints as they are"
        )


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


def _fine_tuned(state: dict[str, Any], head: Head) -> dict[str, Any]:
    """What fairseq's trainer would save of a fine-tuned model with this encoder and head."""
    inner = state["cfg"]
    task = {**inner["task"], "_name": head.task, "labels": head.labels}
    model = {**head.model_config(), "w2v_args": inner, "normalize": task["normalize"], "data": ""}
    weights = {f"w2v_encoder.w2v_model.{name}": t for name, t in state["model"].items()}
    return {
        **state,
        "cfg": {**inner, "task": task, "model": model, "criterion": head.criterion},
        "model": {**weights, **head.weights},
        "task_state": {"target_dictionary": head.symbols},
    }
