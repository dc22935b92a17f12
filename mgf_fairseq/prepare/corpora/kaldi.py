"""Find the utterances of a Kaldi data folder: wav.scp, and text, utt2spk and segments beside it.

One of the layouts of `mgf prepare`. Commands in wav.scp are not run: such recordings are skipped by
name. Further files `utt2NAME` are columns for --label.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from .base import (
    Corpus,
    PrepareError,
    Search,
    Utterance,
    has_extension,
    read_tolerant_lines,
    resolve_paths,
)

RECORDINGS = "wav.scp"
_TO_THE_END = -1.0  # an end of a segment that means the recording's
_ARCHIVE = re.compile(r"\.(ark|scp):\d+(\[.*\])?$")
Skipped = list[tuple[str, str]]


def is_kaldi(source: Path) -> bool:
    """Whether a folder is one of Kaldi's."""
    return (source / RECORDINGS).is_file()


def read_kaldi(source: Path, search: Search) -> Corpus:
    """A Kaldi data folder; without `segments`, recordings are utterances."""
    skipped: Skipped = []
    recordings = _recordings(source, search, skipped)
    if not recordings:
        why = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise PrepareError(f"{source / RECORDINGS} names no file that can be used{why}")
    names = list(recordings.values())
    root, resolved = resolve_paths(names, source)
    path_of = dict(zip(recordings, resolved, strict=True))
    stretches = _stretches(source, path_of, skipped)
    # Kaldi's own files have these names; each is a column, read where it is there.
    columns = {"text": "text", "speaker": "utt2spk", "emotion": "utt2emo", "split": "utt2split"}
    columns |= {ending: f"utt2{column}" for ending, column in search.labels.items()}
    found = {role: _read_map(source / name, skipped) for role, name in columns.items()}
    for ending in search.labels:
        if not found[ending]:
            raise PrepareError(f"--label {ending}: {source / columns[ending]} has no rows")
    utterances = [
        Utterance(
            utt,
            path_of[recording],
            found["speaker"].get(utt) or None,
            found["text"].get(utt),
            found["emotion"].get(utt) or None,
            found["split"].get(utt) or None,
            stretch=stretch,
            labels={ending: found[ending].get(utt, "") for ending in search.labels},
        )
        for utt, (recording, stretch) in stretches.items()
    ]
    known = set(stretches)
    skipped += [(utt, "in text, but no recording of it") for utt in found["text"].keys() - known]
    utterances.sort(key=lambda item: (item.path, item.stretch or (0.0, 0.0)))
    read = [source / RECORDINGS, source / "segments", *(source / n for n in columns.values())]
    return Corpus("kaldi", root, utterances, left_out=skipped, tables=tuple(read))


def _recordings(source: Path, search: Search, skipped: Skipped) -> dict[str, str]:
    """The file of each recording that is one."""
    kept = {}
    for name, place in _read_map(source / RECORDINGS, skipped, files=True).items():
        if place.endswith("|"):
            reason = "a pipe in wav.scp, which is not run: run it once and name its file there"
            skipped.append((name, reason))
        elif place == "-" or _ARCHIVE.search(place):
            skipped.append((name, f"{place[:80]!r} in wav.scp is no audio file"))
        elif "\0" in place or not has_extension(place, search.extensions):
            skipped.append((name, f"{place[:80]!r} does not end in an extension of audio (--ext)"))
        elif search.path_must_contain is None or search.path_must_contain in place:
            kept[name] = place
    return kept


def _stretches(
    source: Path, path_of: Mapping[str, str], skipped: Skipped
) -> dict[str, tuple[str, tuple[float, float] | None]]:
    """Recording and seconds of each utterance, in order."""
    if not (source / "segments").is_file():
        return {recording: (recording, None) for recording in path_of}
    found: dict[str, tuple[str, tuple[float, float] | None]] = {}
    for utt, rest in _read_map(source / "segments", skipped).items():
        parts = rest.split()
        try:
            recording, start, end = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError):
            skipped.append((utt, f"segments: {rest[:60]!r} is not `recording start end`"))
            continue
        end = math.inf if end == _TO_THE_END else end
        if recording not in path_of:
            skipped.append((utt, f"segments: no recording {recording[:60]!r} that can be used"))
        elif not 0 <= start < end:
            skipped.append((utt, f"segments: {rest[:60]!r} must be 0 <= start < end"))
        else:
            found[utt] = (recording, (start, end))
    return found


def _read_map(path: Path, skipped: Skipped, files: bool = False) -> dict[str, str]:
    """`name rest of the line` by name; a name with two different lines is taken from neither."""
    found: dict[str, str] = {}
    twice = set()
    if not path.is_file():
        return found
    for line in read_tolerant_lines(path):
        name, *rest = re.split(r"[ \t]+", line.strip(" \t"), maxsplit=1)
        value = rest[0] if files and rest else " ".join(" ".join(rest).split())
        if name and found.setdefault(name, value) != value:
            twice.add(name)
    for name in sorted(twice):
        del found[name]
        skipped.append((name, f"it stands twice in {path.name}, with different content"))
    return found
