"""From utterances to manifest rows: headers are read, stretches checked, long recordings cut.

Between the layouts, which say where utterances are, and the files that `prepare` writes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..data.audio import AudioError, AudioInfo, audio_info, resampled_length
from ..utils.progress import Progress, silent
from ..utils.threads import map_with_progress
from .corpora.base import Utterance

_ROUNDED = 0.1  # s by which a table's end may pass that of the recording, and is cut to it


@dataclass(frozen=True, slots=True)
class Row:
    """One manifest line and the utterance it comes from."""

    utterance: Utterance
    entry: str
    num_samples: int  # at the manifest's rate
    offset: float = 0.0  # seconds into the utterance
    whole: bool = True


def read_headers(
    root: Path,
    utterances: Sequence[Utterance],
    workers: int,
    skipped: list[tuple[str, str]],
    progress: Progress = silent,
) -> dict[str, AudioInfo]:
    """Header of each recording that can be read, by path; a line in `skipped` for the others."""

    def read(path: str) -> AudioInfo | str:
        entry = os.path.join(root, path)
        try:
            return audio_info(entry)
        except AudioError as error:
            return str(error).removeprefix(f"{entry}: ")

    paths = list(dict.fromkeys(item.path for item in utterances))
    infos: dict[str, AudioInfo] = {}
    for path, found in map_with_progress(read, paths, workers, "reading headers", progress):
        if isinstance(found, str):
            skipped.append((path, found))
        else:
            infos[path] = found
    return infos


def drop_beyond_end(
    utterances: Sequence[Utterance],
    infos: Mapping[str, AudioInfo],
    skipped: list[tuple[str, str]],
) -> list[tuple[Utterance, AudioInfo]]:
    """Pair utterances with headers; without those that could not be read or end after the file."""
    readable = []
    for item in utterances:
        info = infos.get(item.path)
        if info is None:
            continue
        seconds = info.num_samples / info.sample_rate
        start, end = item.stretch or (0.0, seconds)
        beyond = start >= seconds or math.inf > end > seconds + _ROUNDED
        first, last = (0, 0) if beyond else span(item, info)
        if first >= last:
            reason = f"{item.utt}, {start:g} to {end:g} s, is not within its {seconds:.3f} s"
            skipped.append((item.path, reason))
        else:
            readable.append((item, info))
    return readable


def span(item: Utterance, info: AudioInfo) -> tuple[int, int]:
    """First sample of the utterance in its recording, and the one after its last."""
    if item.stretch is None:
        return 0, info.num_samples
    start, end = item.stretch
    last = info.num_samples if math.isinf(end) else round(end * info.sample_rate)
    return round(start * info.sample_rate), min(last, info.num_samples)


def equal_pieces(first: int, last: int, longest: int) -> list[tuple[int, int]]:
    """Bounds of equal pieces of at most `longest` samples; 0: one piece."""
    count = max(1, -(-(last - first) // longest)) if longest else 1
    edges = [first + piece * (last - first) // count for piece in range(count + 1)]
    return list(pairwise(edges))


def cut(
    item: Utterance,
    info: AudioInfo,
    sample_rate: int,
    segment_seconds: float | None,
    speech: Sequence[tuple[int, int]] | None = None,
) -> list[Row]:
    """One row, or offset segments: equal ones of at most `segment_seconds`, or those of `speech`.

    `speech` has bounds in samples of the file.
    """
    first, last = span(item, info)
    bounds = speech or equal_pieces(first, last, round((segment_seconds or 0) * info.sample_rate))
    rows = []
    for start, stop in bounds:
        length = stop - start
        count = resampled_length(length, info.sample_rate, sample_rate)
        part = (start, length) != (0, info.num_samples)
        entry = f"{item.path}:{start}:{length}" if part else item.path
        offset = (start - first) / info.sample_rate
        rows.append(Row(item, entry, count, offset, whole=len(bounds) == 1))
    return rows
