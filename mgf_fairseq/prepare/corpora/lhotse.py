"""Find the utterances of lhotse's manifests: recordings and supervisions, as JSONL or packed JSONL.

One of the layouts of `mgf prepare`. The files are read as they are; lhotse is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .base import Corpus, PrepareError, Search, Utterance, resolve_paths
from .columns import split_called
from .table_rows import json_lines

_RECORDINGS, _SUPERVISIONS = "recordings", "supervisions"
_ENDINGS = (".jsonl.gz", ".jsonl")
_SPLITS = ("train", "valid", "test")
_ROUNDED = 0.002  # s by which a supervision of all of a recording may differ from its length
Skipped = list[tuple[str, str]]


@dataclass(frozen=True)
class _Recording:
    path: str
    seconds: float
    channels: int


def is_lhotse(source: Path) -> bool:
    """Whether a folder, or the file that is named, holds lhotse's recordings."""
    return bool(_pairs(source))


def _pairs(source: Path) -> list[tuple[Path, Path | None]]:
    """Each file of recordings with that of their supervisions, where it is there."""
    folder = source if source.is_dir() else source.parent
    pairs = []
    for path in sorted(folder.iterdir()):
        ours = source.is_dir() or path.name.replace(_RECORDINGS, _SUPERVISIONS) == (
            source.name.replace(_RECORDINGS, _SUPERVISIONS)
        )
        if ours and _RECORDINGS in path.name and path.name.lower().endswith(_ENDINGS):
            beside = path.with_name(path.name.replace(_RECORDINGS, _SUPERVISIONS))
            pairs.append((path, beside if beside.is_file() else None))
    return pairs


def read_lhotse(source: Path, search: Search) -> Corpus:
    """`*recordings*.jsonl(.gz)` with `*supervisions*` of the same name otherwise.

    `source` is the folder of both, or one of the two. Where all of several pairs are called after
    train, dev or test, these become the splits.
    """
    pairs = _pairs(source)
    if not pairs:
        raise PrepareError(f"{source} holds no *{_RECORDINGS}*.jsonl or .jsonl.gz")
    splits = [_split_of(path) for path, _ in pairs]
    if len(pairs) == 1 or None in splits:
        splits = [None] * len(pairs)
    skipped: Skipped = []
    items: list[Utterance] = []
    for (recordings, supervisions), split in zip(pairs, splits, strict=True):
        found = _read_recordings(recordings, search, skipped)
        if supervisions is None:
            items += [Utterance(name, item.path, split=split) for name, item in found.items()]
        else:
            items += _read_supervisions(supervisions, found, split, search, skipped)
    if not items:
        why = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise PrepareError(f"{source} names no utterance that can be used{why}")
    root, paths = resolve_paths([item.path for item in items], pairs[0][0].parent)
    utterances = [replace(item, path=path) for item, path in zip(items, paths, strict=True)]
    utterances.sort(key=lambda item: (item.path, item.stretch or (0.0, 0.0)))
    read = tuple(path for pair in pairs for path in pair if path is not None)
    return Corpus("lhotse", root, utterances, left_out=skipped, tables=read)


def _split_of(path: Path) -> str | None:
    """The split that a file is called after: `x_recordings_train-clean-5.jsonl.gz` is train's."""
    last = path.name.split(_RECORDINGS)[-1].strip("_-.")
    split = split_called(last.replace("_", "-").replace(".", "-").split("-")[0])
    return split if split in _SPLITS else None


def _read_recordings(path: Path, search: Search, skipped: Skipped) -> dict[str, _Recording]:
    """The recordings of one file each, by their id."""
    found: dict[str, _Recording] = {}
    twice = set()
    for line in json_lines(path):
        content = line.content
        name = str(content.get("id") or "")
        recording = line.problem or _recording(content)
        if isinstance(recording, str):
            skipped.append((name or line.where, recording))
        elif search.path_must_contain and search.path_must_contain not in recording.path:
            continue
        elif found.setdefault(name, recording) != recording:
            twice.add(name)
    for name in sorted(twice):
        del found[name]
        skipped.append((name, f"two different recordings of this id in {path.name}"))
    return found


def _recording(content: Mapping[str, Any]) -> _Recording | str:
    """An object of the file of recordings, or why it cannot be used."""
    try:
        (source,) = content["sources"]
        kind, place = str(source["type"]), str(source["source"])
        samples, rate = int(content["num_samples"]), int(content["sampling_rate"])
        channels = len(source.get("channels") or [0])
    except (KeyError, TypeError, ValueError):
        return "it is not a recording of one file with num_samples and sampling_rate"
    if kind != "file" or "\0" in place:
        return f"its source is a {kind[:40]}, not a file: save the recordings first"
    if content.get("transforms"):
        return "it has transforms, which are not done here: save the recordings first"
    if not content.get("id") or samples < 1 or rate < 1:
        return "its id, num_samples or sampling_rate is empty"
    return _Recording(place, samples / rate, channels)


def _read_supervisions(
    path: Path,
    recordings: Mapping[str, _Recording],
    split: str | None,
    search: Search,
    skipped: Skipped,
) -> list[Utterance]:
    """Each supervision as an utterance."""
    items = []
    for line in json_lines(path):
        item = line.problem or _supervision(line.content, recordings, split, search)
        if isinstance(item, str):
            skipped.append((str(line.content.get("id") or line.where), item))
        else:
            items.append(item)
    return items


def _supervision(
    content: Mapping[str, Any],
    recordings: Mapping[str, _Recording],
    split: str | None,
    search: Search,
) -> Utterance | str:
    """An object of the file of supervisions, or why it cannot be used."""
    recording = recordings.get(str(content.get("recording_id")))
    if recording is None:
        return "no recording of it that can be used"
    try:
        start, duration = float(content["start"]), float(content["duration"])
    except (KeyError, TypeError, ValueError):
        start, duration = math.nan, math.nan
    if not (0 <= start < math.inf and 0 < duration < math.inf):
        return "its start and duration are no stretch of a recording"
    channel = content.get("channel", 0)
    given = channel if isinstance(channel, list) else [channel]
    if recording.channels > len(given):
        return f"channel {channel} of {recording.channels}: rows are the mean of all channels"
    whole = start == 0 and abs(duration - recording.seconds) <= _ROUNDED
    custom = content.get("custom")
    cells = {**(custom if isinstance(custom, dict) else {}), **content}
    text = cells.get("text")
    return Utterance(
        str(content.get("id") or ""),
        recording.path,
        _cell(cells, "speaker") or None,
        None if text is None else " ".join(str(text).split()),
        _cell(cells, "emotion") or None,
        split,
        stretch=None if whole else (start, start + duration),
        labels={ending: _cell(cells, name) for ending, name in search.labels.items()},
    )


def _cell(cells: Mapping[str, Any], name: str) -> str:
    value = cells.get(name)
    return "" if value is None else str(value).strip()
