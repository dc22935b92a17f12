"""A fine-tuned checkpoint whose encoder lies between what it learned and where it began.

Robust fine-tuning by weights (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903, eq. 1); `mgf
average --start` names the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .average import AVERAGED, DROPPED, Averaged, updates_of
from .encoder import EncoderCheckpoint, encoder_prefix, read_encoder
from .files import CheckpointError, interpreting, write_whole
from .reading import read_checkpoint


def interpolate(path: Path, start: Path, weight: float, dest: Path) -> Averaged:
    """Write a fine-tuned checkpoint with ``(1 - weight) * its encoder + weight * the start``.

    The output layer, the configuration and the dictionary are those of the fine-tuned one, and
    the optimizer's state is dropped: nothing resumes from it. Weights keep their type.

    Args:
        path: fine-tuned checkpoint.
        start: the pre-trained one that it began with, or the folder of its run.
        weight: share of the start, above 0 and below 1.
        dest: file to write.

    Raises:
        CheckpointError: the share is no share, the first is not fine-tuned, or the second has
            another encoder. Nothing is written then.
    """
    if not 0 < weight < 1:
        raise CheckpointError(f"start weight {weight:g}: must be above 0 and below 1")
    state = read_checkpoint(path)
    origin = read_encoder(start)
    with interpreting(path):
        weights: dict[str, Tensor] = state["model"]
        prefix = encoder_prefix(weights)
    if not prefix:
        raise CheckpointError(f"{path} is not fine-tuned; give the checkpoint of a fine-tuning")
    if origin.history["fine_tuned"]:
        raise CheckpointError(f"{start} is fine-tuned too; give the pre-trained checkpoint")
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    _require_same_shapes(own, origin.weights, path, start)
    mixed = {
        f"{prefix}{name}": own[name].lerp(there.to(own[name].dtype), weight)
        for name, there in origin.weights.items()
        if there.is_floating_point()
    }
    sources = [(str(start), _updates_at(origin)), (path.name, updates_of(state))]
    kept: dict[str, Any] = {key: value for key, value in state.items() if key not in DROPPED}
    written = {
        **kept,
        "model": {**weights, **mixed},
        AVERAGED: [[Path(name).name, updates] for name, updates in sources],
        "start_weight": weight,
    }
    dest.parent.mkdir(parents=True, exist_ok=True)
    write_whole(dest, lambda part: torch.save(written, part))
    return Averaged(dest, sources, len(mixed), [])


def _updates_at(origin: EncoderCheckpoint) -> int:
    return int(origin.history["num_updates"] or 0)


def _require_same_shapes(
    own: dict[str, Tensor], there: dict[str, Tensor], path: Path, start: Path
) -> None:
    for name in dict.fromkeys([*own, *there]):
        shapes = [str(tuple(x[name].shape)) if name in x else "not there" for x in (own, there)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path} did not begin with {start}: {name} is {shapes[0]} and {shapes[1]}; give "
                "the checkpoint that model.w2v_path named"
            )
