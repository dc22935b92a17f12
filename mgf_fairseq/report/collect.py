"""Find result folders, check them, and put what belongs together into rows.

First step of the report: evaluation/results.py reads the files, table.py makes scores of the rows.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.result_files import ResultError, ResultFolder, read_results
from ..evaluation.results import (
    UPSTREAM_FILE,
    EnhancementResult,
    ProbedResult,
    RecognitionResult,
    TaskResult,
    UpstreamResult,
)
from ..evaluation.tasks import TASKS
from .wording import in_order

Result = TaskResult | EnhancementResult | RecognitionResult
_OURS = "mgf"
# Settings of fine-tuning that say what a row is, not how it was measured.
OF_THE_ROW = ("protocol.start", "protocol.transformer")


@dataclass(frozen=True)
class Member:
    """One representation: an upstream and all its results, from one folder or several."""

    upstream: UpstreamResult
    folders: tuple[Path, ...]
    results: tuple[Result, ...]

    def file(self, name: str) -> Path | None:
        """Return the first file of that name in its folders."""
        return next((f / name for f in self.folders if (f / name).is_file()), None)


@dataclass(frozen=True)
class Row:
    """Members that differ by pre-training seed alone: one line of every table."""

    label: str
    members: tuple[Member, ...]

    @property
    def kind(self) -> str:
        """The kind of upstream, the same for all members."""
        return self.members[0].upstream.kind

    @property
    def is_baseline(self) -> bool:
        """Whether it is something to compare with rather than an MGF model."""
        return self.kind != _OURS

    @property
    def audio(self) -> tuple[float, float] | None:
        """Least and most hours of audio that a member has heard; None where none is recorded."""
        hours = [m.upstream.audio_hours for m in self.members if m.upstream.audio_hours]
        return (min(hours), max(hours)) if hours else None

    @property
    def audio_in_words(self) -> str:
        """As tables show it: one number, or a range where members of a row differ."""
        if self.audio is None:
            return ""
        low, high = (f"{hours:.1f}" for hours in self.audio)
        return f"{low} h" if low == high else f"{low} to {high} h"


@dataclass(frozen=True)
class Collection:
    """All rows, ours first, and what a reader must know about how they came together."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def collect(sources: Sequence[Path]) -> Collection:
    """Read all result folders in (or named by) `sources`.

    Raises:
        ResultError: a source holds no results, or a file is corrupt; the message names it.
    """
    folders = [_checked(read_results(path)) for path in find_folders(sources)]
    notes: list[str] = []
    members = _merge(folders, notes)
    rows = _group(members, notes)
    notes += _unequal_audio(rows)
    return Collection(tuple(sorted(rows, key=_order)), tuple(notes))


def find_folders(sources: Sequence[Path]) -> list[Path]:
    """List result folders: a source itself, or the folders in it; each once, by name."""
    found: dict[Path, None] = {}
    for source in sources:
        if not source.is_dir():
            raise ResultError(f"{source} is no folder: name the --dest of `mgf evaluate`")
        inside = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
        folders = [path for path in inside if _looks_like_results(path)]
        if not folders:
            raise ResultError(
                f"{source} holds no results (no {UPSTREAM_FILE} in it or in a folder of it): "
                "name the --dest of `mgf evaluate`"
            )
        found.update({path.resolve(): None for path in folders})
    return list(found)


def _looks_like_results(path: Path) -> bool:
    names = (UPSTREAM_FILE, *(f"{task}.json" for task in TASKS))
    return any((path / name).exists() for name in names)


def results_of(folder: ResultFolder) -> list[Result]:
    """List the results in a folder, in the order of tasks."""
    found: list[Result] = [folder.tasks[task] for task in in_order(folder.tasks)]
    return [*found, folder.recognition] if folder.recognition else found


def _checked(folder: ResultFolder) -> ResultFolder:
    """Refuse results whose parts do not fit together, which no picture could show."""
    for result in results_of(folder):
        path = folder.path / f"{result.task}.json"
        if isinstance(result, ProbedResult):
            if not 0 <= result.chosen < len(result.representations):
                _refuse(path, f"chosen={result.chosen} of {len(result.representations)} layers")
            if len(result.layer_weights) not in (0, len(folder.upstream.layer_names)):
                _refuse(path, f"{len(result.layer_weights)} layer weights do not fit the layers")
        if isinstance(result, TaskResult):
            classes = len(result.data.classes)
            if [len(row) for row in result.confusion] != [classes] * classes:
                _refuse(path, f"the confusion matrix does not fit the {classes} classes")
        if not scores(result).get(result.metric):
            _refuse(path, f"no values of its metric {result.metric!r} on test")
    return folder


def _refuse(path: Path, reason: str) -> None:
    raise ResultError(f"{path}: {reason}; remove the file and evaluate again")


def scores(result: Result) -> dict[str, list[float]]:
    """Return metric -> value per seed, on test, of what the valid split chose."""
    if isinstance(result, ProbedResult):
        return result.representations[result.chosen].test
    return result.test


def chosen_name(result: Result) -> str:
    """Name the representation that the scores are of."""
    if isinstance(result, ProbedResult):
        return result.representations[result.chosen].name
    return "fine-tuned"


def conditions(result: Result) -> dict[str, Any]:
    """Return all that must be equal for two scores to share a column, flat."""
    content = {"data": dataclasses.asdict(result.data), "protocol": result.protocol}
    content["data"].pop("note")  # words about the sizes that are compared already
    return {name: v for name, v in _flatten(content) if not name.startswith(OF_THE_ROW)}


def _flatten(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _flatten(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _merge(folders: Sequence[ResultFolder], notes: list[str]) -> list[Member]:
    """Join folders of one name and fingerprint; of one task twice the later date counts."""
    members: dict[tuple[str, str], list[ResultFolder]] = {}
    for folder in folders:
        key = (folder.upstream.name, folder.upstream.fingerprint)
        members.setdefault(key, []).append(folder)
    return [_one_member(same, notes) for same in members.values()]


def _one_member(folders: Sequence[ResultFolder], notes: list[str]) -> Member:
    name = folders[0].upstream.name
    kept: dict[str, Result] = {}
    for folder in folders:
        for result in results_of(folder):
            key = json.dumps([result.task, conditions(result)], sort_keys=True)
            if key in kept:
                notes.append(f"{name}: {result.task} was evaluated twice; the later one is shown")
            if key not in kept or kept[key].date < result.date:
                kept[key] = result
    order = in_order(result.task for result in kept.values())
    ordered = sorted(kept.values(), key=lambda result: order.index(result.task))
    return Member(folders[0].upstream, tuple(f.path for f in folders), tuple(ordered))


def _group(members: Sequence[Member], notes: list[str]) -> list[Row]:
    """Make one row of each group, and of each part of a group whose members differ."""
    groups: dict[str, dict[str, list[Member]]] = {}
    for member in members:
        upstream = member.upstream
        same = [upstream.kind, upstream.config, upstream.num_updates, upstream.layer_names]
        parts = groups.setdefault(upstream.group, {})
        parts.setdefault(json.dumps(same, sort_keys=True, default=str), []).append(member)
    rows = []
    for group, parts in groups.items():
        if len(parts) > 1:
            names = [m.upstream.name for part in parts.values() for m in part]
            notes.append(
                f"group {group}: {', '.join(names)} differ in {_differences(parts.values())}, not "
                "by seed alone, so they are separate rows"
            )
        for part in parts.values():
            label = group if len(parts) == 1 else "/".join(m.upstream.name for m in part)
            seeds = [m.upstream.seed for m in part]
            if len(set(seeds)) < len(seeds):
                notes.append(f"{label}: several members have pre-training seed {seeds}")
            rows.append(Row(label, tuple(part)))
    return rows


def _differences(parts: Iterable[Sequence[Member]]) -> str:
    """Name the fields in which the parts of a group differ."""
    found = [
        dict(
            _flatten(
                {
                    "kind": part[0].upstream.kind,
                    "config": part[0].upstream.config,
                    "num_updates": part[0].upstream.num_updates,
                    "layer_names": part[0].upstream.layer_names,
                }
            )
        )
        for part in parts
    ]
    names = sorted({name for fields in found for name in fields})
    return ", ".join(n for n in names if len({str(fields.get(n)) for fields in found}) > 1)


def _unequal_audio(rows: Iterable[Row]) -> list[str]:
    """Say it where trained rows heard different amounts of audio: no fair comparison."""
    heard = {row.label: (row.audio, row.audio_in_words) for row in rows if row.audio}
    hours = [value for found, _ in heard.values() for value in found]
    if not hours or max(hours) <= 1.05 * min(hours):
        return []
    told = ", ".join(f"{label} {words}" for label, (_, words) in heard.items())
    return [f"the rows heard different amounts of audio in pre-training: {told}"]


def _order(row: Row) -> tuple[bool, int, str]:
    """MGF before baselines, more objectives before fewer, then by name."""
    objectives = row.members[0].upstream.config.get("objectives")
    count = len(objectives) if isinstance(objectives, (list, dict)) else 0
    return row.is_baseline, -count, row.label
