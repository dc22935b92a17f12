"""Make the folder of a release: the checkpoint without its optimizer, exports, a card, checksums.

examples/release/assemble.py calls it at the end of examples/release/make.sh.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.average import DROPPED
from ..checkpoints.files import write_whole
from ..checkpoints.reading import LAST, find_checkpoint, read_checkpoint
from ..data.manifest import read_manifest
from ..evaluation.result_files import read_results
from ..export.card import facts_of, score_table, training_table
from ..export.folder import new_folder, write_json
from ..export.scores import read_scores
from ..export.source import read_source
from ..extract.upstream import load_upstream
from .card import (
    CARD,
    INDEX,
    MAKER,
    SUMS,
    Release,
    ReleaseError,
    card_text,
    describe_file,
    require_name,
    sums_text,
)
from .sources import find_releases


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a release is made of."""

    name: str
    title: str
    license: str
    corpora: Sequence[str]  # of pre-training, each with its own license
    manifests: Sequence[Path]  # train.tsv of each, for the hours
    checkpoint: Path
    results: Path | None  # folder of mgf evaluate
    exports: dict[str, Path]  # name of the folder in the release -> folder of mgf export
    commands: Sequence[str]  # that made all this


def make_release(parts: Parts, dest: Path) -> Path:
    """Write `dest`/NAME in one step, and list it in `dest`/models.json.

    Raises:
        ValueError: a part cannot be used, results are of another checkpoint, or a folder is there
            that this did not make.
    """
    require_name(parts.name, "--name")
    source = read_source(parts.checkpoint)
    if parts.results is not None:
        _require_of(parts.results, parts.checkpoint)
    scores = read_scores([parts.results] if parts.results is not None else [])
    facts = facts_of(source)
    with new_folder(dest / parts.name, CARD, MAKER) as folder:
        _write_checkpoint(parts.checkpoint, folder / LAST)
        for name, export in parts.exports.items():
            shutil.copytree(export, folder / name)
        release = Release(
            name=parts.name,
            title=parts.title,
            license=parts.license,
            data=list(parts.corpora),
            data_hours=sum(_hours(path, facts["sample_rate"]) for path in parts.manifests),
            heard_hours=facts["audio_hours"],
            updates=facts["num_updates"],
            parameters=facts["parameters"],
            scores=scores,
            files=[],
        )
        (folder / "README.md").write_text(_page(parts, release, facts), encoding="utf-8")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        release.files.extend(describe_file(path, folder) for path in files)
        (folder / SUMS).write_text(sums_text(release), encoding="utf-8")
        (folder / CARD).write_text(card_text(release), encoding="utf-8")
    write_index(dest)
    return dest / parts.name


def write_index(dest: Path) -> None:
    """Write models.json, by which a URL lists its releases."""
    sums = {
        name: hashlib.sha256((Path(found.place) / CARD).read_bytes()).hexdigest()
        for name, found in find_releases(str(dest)).items()
    }
    write_json(dest / INDEX, {"format": 1, "models": sums})


def _require_of(results: Path, checkpoint: Path) -> None:
    found = read_results(results).upstream.fingerprint
    if found != load_upstream(str(checkpoint)).fingerprint:
        raise ReleaseError(
            f"{results}: results of another checkpoint than {checkpoint}; give those of this one"
        )


def _write_checkpoint(source: Path, dest: Path) -> None:
    state = read_checkpoint(find_checkpoint(source))
    kept = {key: value for key, value in state.items() if key not in DROPPED}
    write_whole(dest, lambda part: torch.save(kept, part))


def _hours(manifest: Path, sample_rate: int) -> float:
    return float(read_manifest(manifest).num_samples.sum()) / sample_rate / 3600


def _page(parts: Parts, release: Release, facts: dict[str, Any]) -> str:
    tag = parts.license.lower().replace(" ", "-")
    commands = "\n".join(parts.commands)
    corpora = "\n".join(f"- {corpus}" for corpus in release.data)
    exports = "".join(f"\n- `{name}/`: an export, with its own README" for name in parts.exports)
    return f"""\
---
license: {tag}
tags:
- audio
- speech
- wav2vec2
- mgf
---

# {release.name}

{release.title}. License: {release.license}.

- `{LAST}`: the checkpoint of mgf_fairseq, a checkpoint for all verbs of `mgf`{exports}
- `{SUMS}`: `sha256sum --check {SUMS}`, or `mgf models .. {release.name}`

## Data

Hours of training data, each recording once: {release.data_hours:.2f}.

{corpora}

## Training

{training_table(facts)}

## Scores

{score_table(release.scores)}

## Commands

```
{commands}
```

## Limits

- It has heard only the data above: other languages, channels and kinds of speech are untried.
- Scores are of the tasks above; differences within their intervals mean nothing.
- Attention takes memory with the square of the length: cut recordings of more than a minute.
"""
