"""The mean weights of several checkpoints of one run, as a checkpoint that is used like them.

As fairseq's scripts/average_checkpoints.py, with safe reading; `mgf average` names the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ..utils.progress import Progress, silent
from .files import CheckpointError, interpreting, peek_state, write_whole
from .reading import BEST, SAFE_CLASSES, config_of, read_checkpoint
from .symbols import held_dictionary

AVERAGED = "averaged"  # entry of an average: its sources, a list of (file name, updates)
# What belongs to one state of a training and not to a mean of several.
DROPPED = ("last_optimizer_state",)


@dataclass(frozen=True)
class Averaged:
    """What has been written."""

    dest: Path
    sources: list[tuple[str, int]]  # file names and their updates, ascending
    tensors: int  # that were averaged
    kept: list[str]  # that hold whole numbers, as the newest checkpoint has them


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The checkpoints of a run's folder with the most updates, ascending.

    Files of one number of updates, as the last and the best often are, count once.

    Raises:
        CheckpointError: there are fewer, or one cannot be read.
    """
    if count < 2:
        raise CheckpointError(f"last {count}: an average needs 2 checkpoints or more")
    found: dict[int, Path] = {}
    # The best one comes last, so that a file named after its updates is preferred.
    for path in sorted(folder.glob("checkpoint*.pt"), key=lambda path: (path.name == BEST, path)):
        with interpreting(path):
            state = peek_state(path, SAFE_CLASSES)
            if AVERAGED not in state:
                found.setdefault(updates_of(state), path)
    if len(found) < count:
        have = ", ".join(f"{found[n].name} ({n} updates)" for n in sorted(found)) or "none"
        raise CheckpointError(
            f"{folder}: {count} checkpoints of different updates are needed, and there are "
            f"{len(found)}: {have}. Train with checkpoint.keep_interval_updates={count} (and "
            "save_interval_updates) to keep more, or lower --last"
        )
    return [found[number] for number in sorted(found)[-count:]]


def average(paths: Sequence[Path], dest: Path, progress: Progress = silent) -> Averaged:
    """Write a checkpoint whose weights are the mean of those of others, of one run.

    Weights with a fraction are averaged in fp64 and keep their type; whole numbers, such as
    counters, and everything else (configuration, dictionary, history) are those of the checkpoint
    with the most updates. The state of the optimizer is dropped: nothing resumes from an average.

    Args:
        paths: the checkpoints, two or more.
        dest: file to write.
        progress: called after each file.

    Raises:
        CheckpointError: they are not of one kind, shape and dictionary, or cannot be read or
            written. Nothing is written then.
    """
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise CheckpointError("an average needs 2 checkpoints or more, all of them different")
    newest: dict[str, Any] = {}
    sums: dict[str, Tensor] = {}
    sources: list[tuple[str, int]] = []
    for number, path in enumerate(paths, start=1):
        state = read_checkpoint(path)
        with interpreting(path):
            if newest:
                _require_alike(newest, state, paths[0], path)
            _add(sums, state["model"])
            sources.append((path.name, updates_of(state)))
            if not newest or sources[-1][1] > updates_of(newest):
                newest = state
        progress("average", number, len(paths))
    weights = newest["model"]
    mean = {
        name: (sums[name] / len(paths)).to(tensor.dtype) if name in sums else tensor
        for name, tensor in weights.items()
    }
    sources.sort(key=lambda source: source[1])
    kept = {key: value for key, value in newest.items() if key not in DROPPED}
    state = {**kept, "model": mean, AVERAGED: [list(source) for source in sources]}
    dest.parent.mkdir(parents=True, exist_ok=True)
    write_whole(dest, lambda part: torch.save(state, part))
    return Averaged(dest, sources, len(sums), [name for name in weights if name not in sums])


def is_average(path: Path) -> bool:
    """Whether a file is an average that this module has written."""
    try:
        return AVERAGED in peek_state(path, SAFE_CLASSES)
    except CheckpointError:
        return False


def _add(sums: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            there = sums.get(name)
            sums[name] = tensor.double() if there is None else there.add_(tensor)


def updates_of(state: dict[str, Any]) -> int:
    """The number of updates of a training when it saved this state; 0 if it does not say."""
    history = state.get("optimizer_history") or [{}]
    return int(history[-1].get("num_updates", 0))


def _require_alike(one: dict[str, Any], other: dict[str, Any], first: Path, path: Path) -> None:
    """Refuse checkpoints of which a mean makes no sense.

    Raises:
        CheckpointError: it names the first difference.
    """
    names = [OmegaConf.select(config_of(state, first), "model._name") for state in (one, other)]
    reason = ""
    if names[0] != names[1]:
        reason = f"models {names[0]!r} and {names[1]!r}"
    elif _symbols(one) != _symbols(other):
        reason = "dictionaries of other symbols"
    else:
        shapes = [{k: tuple(v.shape) for k, v in s["model"].items()} for s in (one, other)]
        wrong = [
            name
            for name in dict.fromkeys([*shapes[0], *shapes[1]])
            if shapes[0].get(name) != shapes[1].get(name)
        ]
        if wrong:
            name = wrong[0]
            found = [str(shape.get(name, "not there")) for shape in shapes]
            reason = f"{name} is {found[0]} and {found[1]}"
    if reason:
        raise CheckpointError(
            f"{first} and {path} are not of one run: {reason}; give checkpoints of one training"
        )


def _symbols(state: dict[str, Any]) -> Any:
    return getattr(held_dictionary(state), "symbols", None)
