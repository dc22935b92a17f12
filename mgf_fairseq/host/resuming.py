"""Compares what a checkpoint was trained with to what the command asks for, before it is resumed.

:mod:`mgf_fairseq.host.resume_plan` asks here. Most settings may change freely; the others are
named with the key of fairseq's that permits their change, which is the one that makes the change
clean.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.files import CheckpointError

# Keys of fairseq's group `checkpoint`, and what begins anew under each.
OPTIMIZER = "reset_optimizer"
SCHEDULE = "reset_lr_scheduler"
DATA = "reset_dataloader"
METERS = "reset_meters"  # logged means and the best score
RESETS = (OPTIMIZER, SCHEDULE, DATA, METERS)
NEVER = ""  # no key permits it
_BEGUN_FROM = "model.w2v_path"

# A setting, or a whole group -> what permits its change; settings that are not here are free.
_PERMITS = {
    "common.seed": DATA,
    **dict.fromkeys(
        (f"dataset.{key}" for key in ("max_tokens", "batch_size", "curriculum")),
        DATA,
    ),
    "task": DATA,
    "optimization.update_freq": DATA,
    **dict.fromkeys(("optimization.lr", "optimization.clip_norm", "lr_scheduler"), SCHEDULE),
    "optimizer": OPTIMIZER,
    "criterion": METERS,
    "model": METERS,
}
# Free within those groups: where things lie, what is only said or scored, precision, and settings
# that follow another one, which is compared.
_FREE = {
    *(
        f"task.{key}"
        for key in ("data", "health", "log_interval", "train_subset", "autocast", "cache")
    ),
    *("task.seed", "model.seed", "model.sample_rate", "criterion.sample_rate"),
    *("optimizer.lr", "lr_scheduler.lr", "criterion.sentence_avg", "model.ddp_backend"),
    *("optimizer.tpu", "optimizer.fp16_adam_stats", "optimizer.use_old_adam"),
    *("criterion.nonfinite_budget", "criterion.post_process", "criterion.log_keys"),
    *("model.w2v_path", "model.w2v_args", "model.data", "model.normalize"),
    "model.init_from",  # read only where there is nothing to resume
    *("model.checkpoint_activations", "model.offload_activations"),
}
_FREE_PREFIXES = ("task.eval_", "criterion.wer_")
_FOLLOW_MAX_UPDATE = ("lr_scheduler.total_num_update", "lr_scheduler.max_update")
# Here a key that is absent on one side is a difference; elsewhere it is of another version.
_OPEN = ("model.objectives.", "criterion.loss_weights.", "task.corpora.")


@dataclass(frozen=True)
class Difference:
    """A setting that the command changes."""

    key: str
    before: str
    now: str
    permitted_by: str  # one of RESETS, or NEVER

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.now}" if self.now else f"{self.key} has changed"


def differences(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[Difference]:
    """List the settings that are not free to change and differ.

    Args:
        saved: configuration in the checkpoint, of plain containers.
        asked: the command's.
    """
    before, now = dict(_flat(saved)), dict(_flat(asked))
    found = []
    for key in sorted(before.keys() | now.keys()):
        permit = _permit(key)
        known = (key in before and key in now) or key.startswith(_OPEN)
        if permit is None or not known or before.get(key) == now.get(key):
            continue
        if key in _FOLLOW_MAX_UPDATE and all(
            side.get(key) == side.get("optimization.max_update") for side in (before, now)
        ):
            continue
        if key == "optimization.update_freq" and _batches(before) == _batches(now):
            continue
        found.append(Difference(key, _shown(before, key), _shown(now, key), permit))
    return found


def _permit(key: str) -> str | None:
    """The key that permits a change of a setting; None if it is free."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in _FREE or (length > 1 and name.startswith(_FREE_PREFIXES)):
            return None
        if name in _PERMITS:
            return _PERMITS[name]
    return None


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _shown(side: Mapping[str, Any], key: str) -> str:
    return str(side[key])[:80] if key in side else "absent"


def _batches(side: Mapping[str, Any]) -> list[int]:
    """Batches of `dataset.max_tokens` that an update takes, over ranks and micro-batches."""
    ranks = int(side.get("distributed_training.distributed_world_size") or 1)
    return [int(number) * ranks for number in side["optimization.update_freq"]]


def ranks_of(config: Mapping[str, Any]) -> int:
    """How many ranks a configuration is of."""
    return int((config.get("distributed_training") or {}).get("distributed_world_size") or 1)


# ---- what paths hold


def source_digests(config: Mapping[str, Any]) -> dict[str, str]:
    """Digests of what is trained and begun from: name -> digest, without what is not there.

    A manifest counts without its first line, so a corpus that has moved keeps its digest.
    """
    task, data = config.get("task") or {}, config.get("dataset") or {}
    folder, split = str(task.get("data") or ""), str(data.get("train_subset") or "")
    corpora = [] if "/" in split else list(task.get("corpora") or {})
    names = [f"{corpus}/{split}.tsv" for corpus in corpora] or [f"{split}.tsv"]
    if labels := task.get("labels"):
        names += [f"{split}.{labels}", f"dict.{labels}.txt"]
    found = {
        name: _digest(Path(folder, name), skip_root=name.endswith(".tsv"))
        for name in names
        if folder and Path(folder, name).is_file()
    }
    path = (config.get("model") or {}).get("w2v_path")
    if path and Path(path).is_file():
        found[_BEGUN_FROM] = _print_of_checkpoint(Path(path))
    return found


def _digest(path: Path, skip_root: bool = False) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if skip_root:
            file.readline()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _print_of_checkpoint(path: Path) -> str:
    """A checkpoint's digest by the checksums that it holds, so that it need not be read."""
    if not zipfile.is_zipfile(path):
        return _digest(path)
    with zipfile.ZipFile(path) as archive:
        parts = [(part.filename.split("/", 1)[-1], part.CRC) for part in archive.infolist()]
    return f"{zlib.crc32(repr(sorted(parts)).encode()):08x}"


def source_differences(saved: Mapping[str, str], now: Mapping[str, str]) -> list[Difference]:
    """Files that hold something else than when the checkpoint was saved."""
    if not saved:  # of a version that did not note them
        return []
    changed = [name for name in now if saved.get(name, now[name]) != now[name]]
    found = [
        Difference(f"what {name} holds", "", "", NEVER if name == _BEGUN_FROM else DATA)
        for name in changed
    ]
    if not any(map(_is_manifest, changed)) and _manifests(saved) != _manifests(now):
        # By their contents: a set that was renamed is the same set.
        before, after = (" ".join(filter(_is_manifest, side)) for side in (saved, now))
        found.append(Difference("what is trained", before, after, DATA))
    return found


def _is_manifest(name: str) -> bool:
    return name.endswith(".tsv")


def _manifests(digests: Mapping[str, str]) -> list[str]:
    return [digest for name, digest in digests.items() if _is_manifest(name)]


# ---- the verdict


def require_continuable(
    path: Path, found: Sequence[Difference], misfits: Sequence[str], checkpoint: Mapping[str, Any]
) -> None:
    """Refuse what cannot be continued, and what the command does not permit.

    Args:
        path: the checkpoint.
        found: what differs.
        misfits: weights that are of other shapes than the model's.
        checkpoint: the command's group of that name.

    Raises:
        CheckpointError: naming each difference and what to do.
    """
    said = "; ".join(map(str, found)) or "nothing in the settings"
    other = "give the old values, or another checkpoint.save_dir"
    if misfits:
        raise CheckpointError(
            f"{path} has weights of other shapes than this command's model ({', '.join(misfits)}), "
            f"so it cannot be continued. What differs: {said}; {other}"
        )
    lacking = [item for item in found if not _permitted(item, checkpoint)]
    if not lacking:
        return
    said = "; ".join(map(str, lacking))
    keys = [key for key in RESETS if any(item.permitted_by == key for item in lacking)]
    permits = " ".join(f"checkpoint.{key}=true" for key in keys)
    never = [item.key for item in lacking if item.permitted_by == NEVER]
    how = (
        f"{', '.join(never)} cannot change" if never else f"to continue all the same add {permits}"
    )
    raise CheckpointError(
        f"{path} was trained with other settings than this command has: {said}. {other[0].upper()}"
        f"{other[1:]}; {how}"
    )


def _permitted(item: Difference, checkpoint: Mapping[str, Any]) -> bool:
    if checkpoint.get(OPTIMIZER) and item.permitted_by in (OPTIMIZER, SCHEDULE):
        return True
    overrides = str(checkpoint.get("optimizer_overrides") or "{}")
    if (
        item.permitted_by == OPTIMIZER
        and item.key.split(".")[-1].removeprefix("adam_") in overrides
    ):
        return True
    return bool(item.permitted_by and checkpoint.get(item.permitted_by))


def resets_to_do(
    asked: Mapping[str, Any], done: Mapping[str, Any], found: Sequence[Difference]
) -> dict[str, bool]:
    """Which resets of the command are still to do on a checkpoint of its own.

    A checkpoint that was saved under a reset has it behind it, unless it has to permit something
    once more.
    """
    needed = {item.permitted_by for item in found}
    return {key: bool(asked.get(key)) and (not done.get(key) or key in needed) for key in RESETS}


def misfits(saved: Mapping[str, Any], built: Mapping[str, Any], by_name: bool) -> list[str]:
    """Name weights whose shapes differ; with `by_name` also those that only one side has."""
    names = saved.keys() | built.keys() if by_name else saved.keys() & built.keys()
    found = []
    for name in sorted(names):
        shapes = [tuple(side[name].shape) if name in side else "absent" for side in (saved, built)]
        if shapes[0] != shapes[1]:
            found.append(f"{name}: {shapes[0]} -> {shapes[1]}")
    return [*found[:3], f"{len(found) - 3} more"] if len(found) > 4 else found
