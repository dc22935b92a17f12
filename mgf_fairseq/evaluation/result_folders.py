"""The folders of results: what representations are called, and what lies beside their results.

First part of `mgf evaluate`: specifications become upstreams with a folder each, which run.py
fills.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..baselines.acoustic_model import ACOUSTIC
from ..checkpoints.fresh import shape_of
from ..extract.infill import infill
from ..extract.infilled import write_infilling
from ..extract.reconstruct import reconstruct, write_reconstruction
from ..extract.upstream import Upstream, load_upstream
from ..monitoring.training_log import JSONL_NAME, LOG_NAME, write_jsonl
from .result_files import ResultError, read_record, write_record
from .results import DECODED, INFILLING, ORIGINAL, UPSTREAM_FILE, UpstreamResult


class EvaluationError(ValueError):
    """An evaluation cannot be run as asked; the message names the fix."""


@dataclass(frozen=True)
class Evaluated:
    """An upstream with the folder of its results."""

    upstream: Upstream
    folder: Path
    group: str

    @property
    def name(self) -> str:
        """What it is called in tables: the folder's name."""
        return self.folder.name

    @property
    def checkpoint(self) -> Path | None:
        """The file it was loaded from; None for features that no checkpoint holds."""
        if self.upstream.kind in (*ACOUSTIC, "random"):
            return None
        return Path(str(self.upstream.info["path"]))


def load_all(
    specs: Sequence[str], dest: Path, names: Sequence[str] = (), group: str | None = None
) -> list[Evaluated]:
    """Load every upstream and give it a folder under `dest`, which is not made yet.

    Args:
        specs: as ``load_upstream`` takes them.
        names: of the folders, one per spec; made from the specs where there are none.
        group: of all that comes from checkpoints: rows of one group differ by pre-training seed
            alone. If None, each representation is a group of its own, as fbank and mfcc always are.

    Raises:
        EvaluationError: names do not fit.
        ResultError: a folder holds results of another upstream.
        CheckpointError: a checkpoint cannot be used.
    """
    if not specs:
        raise EvaluationError("no representation is given: name checkpoints, fbank or mfcc")
    if names and len(names) != len(specs):
        raise EvaluationError(
            f"{len(names)} name(s) for {len(specs)} representation(s): --name takes one for each"
        )
    upstreams = [load_upstream(spec) for spec in specs]
    chosen = list(names) or [result_name(upstream) for upstream in upstreams]
    for name in chosen:
        if not name or name in (".", "..") or "/" in name:
            raise EvaluationError(f"{name!r} cannot name a folder of results; choose with --name")
        if chosen.count(name) > 1:
            raise EvaluationError(
                f"two representations would be called {name!r} and share {dest / name}: give each "
                "its own name with --name"
            )
    found = []
    for upstream, name in zip(upstreams, chosen, strict=True):
        check_folder(dest / name, upstream)
        own = group is None or upstream.kind in ACOUSTIC
        found.append(Evaluated(upstream, dest / name, name if own else str(group)))
    return found


def write_description(evaluated: Evaluated, manifest: Path) -> str | None:
    """Write upstream.json, and what a checkpoint brings: its training log, an utterance rebuilt.

    Args:
        evaluated: the representation and its folder, which is made.
        manifest: whose longest utterance is rebuilt, where the frame or sample scale was trained.

    Returns:
        a remark where a checkpoint lacks its log.
    """
    upstream, folder = evaluated.upstream, evaluated.folder
    folder.mkdir(parents=True, exist_ok=True)
    record = describe_upstream(upstream, upstream.layer_names, evaluated.name, evaluated.group)
    write_record(folder / UPSTREAM_FILE, record)
    checkpoint = evaluated.checkpoint
    if checkpoint is None or upstream.info.get("fine_tuned"):
        return None
    if upstream.kind == "mgf":
        _write_rebuilt(checkpoint, upstream.info.get("objectives") or (), folder, manifest)
    log = checkpoint.parent / LOG_NAME
    if not log.is_file():
        return f"no {LOG_NAME} beside {checkpoint}: the report will have no training curves of it"
    write_jsonl(folder / JSONL_NAME, log)
    return None


def _write_rebuilt(
    checkpoint: Path, objectives: Container[str], folder: Path, manifest: Path
) -> None:
    """Write what the frame and the sample objective make of an utterance, once."""
    if "frame" in objectives and not (folder / INFILLING).is_file():
        infilling = infill(checkpoint, manifest)
        if infilling is not None:
            write_infilling(folder / INFILLING, infilling)
    written = all((folder / name).is_file() for name in (ORIGINAL, DECODED))
    if "sample" in objectives and not written:
        found = reconstruct(checkpoint, manifest)
        if found is not None:
            write_reconstruction(found, folder / ORIGINAL, folder / DECODED)


def result_name(upstream: Upstream) -> str:
    """A folder name for an upstream: the folder of its checkpoint, or its own name."""
    path = str(upstream.info["path"])
    checkpoint = shape_of(path)
    if len(checkpoint.parts) == 1:
        return re.sub(r"[^\w.@-]+", "-", path)
    seed = f"-random{upstream.info['seed']}" if upstream.kind == "random" else ""
    return re.sub(r"[^\w.@-]+", "-", checkpoint.resolve().parent.name) + seed


def describe_upstream(
    upstream: Upstream, layers: list[str], name: str, group: str | None = None
) -> UpstreamResult:
    """Make the `upstream.json` of a result folder."""
    known = {field.name for field in dataclasses.fields(UpstreamResult)}
    info = {key: value for key, value in upstream.info.items() if key in known and key != "name"}
    config: dict[str, Any] = {
        key: value for key, value in upstream.info.items() if key not in known
    }
    config |= info.pop("config", {})
    return UpstreamResult(
        **info,
        name=name,
        group=group or name,
        kind=upstream.kind,
        layer_names=layers,
        fingerprint=upstream.fingerprint,
        config=config,
    )


def check_folder(folder: Path, upstream: Upstream) -> None:
    """Refuse a result folder that is about another representation.

    Raises:
        ResultError: it is.
    """
    path = folder / UPSTREAM_FILE
    if path.exists():
        held = read_record(path, UpstreamResult)
        if held.fingerprint != upstream.fingerprint:
            raise ResultError(
                f"{folder} holds results of another representation ({held.path}): give this one "
                "a name of its own (--name), or remove the folder"
            )
