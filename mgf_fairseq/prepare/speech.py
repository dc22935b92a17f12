"""Where there is speech in a long recording, by energy alone: `mgf prepare --vad`.

A recording is cut in its pauses instead of into equal pieces, and pauses longer than a second are
skipped. Energy separates speech from a quieter background; it does not know music from speech.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.audio import AudioError, AudioInfo, AudioReader
from ..utils.progress import Progress, silent
from ..utils.threads import ordered_map
from .corpora.base import Utterance

Span = tuple[int, int]  # begin, and one after the end
FRAME_S = 0.02
_BLOCK = 3000  # frames read at a time: a minute
_FLOOR_DB, _SILENT_DB = -100.0, -90.0  # of a frame without power; below: nothing was recorded
# Our choices, in dB: how far from background to loud speech the threshold is, how far below loud
# speech it is at most, and the difference below which a recording is taken as speech throughout.
_THRESHOLD, _DEEPEST, _LEAST_CONTRAST = 0.3, 35.0, 6.0
# Our choices, in seconds: shorter pauses are speech, shorter sounds are none, what is kept around
# speech, and the longest pause within a piece.
_PAUSE, _SOUND, _MARGIN, _LONGEST_PAUSE = 0.3, 0.1, 0.2, 1.0


def levels(reader: AudioReader) -> npt.NDArray[np.float64]:
    """Mean power of each frame of 20 ms in dB, (T,); the rest at the end is a frame too."""
    hop = round(FRAME_S * reader.sample_rate)
    found = []
    for start in range(0, reader.num_samples, _BLOCK * hop):
        waveform = reader.read(start, min(_BLOCK * hop, reader.num_samples - start))
        edges = np.arange(0, len(waveform), hop)
        sums = np.add.reduceat(waveform.astype(np.float64) ** 2, edges)
        counts = np.diff(np.append(edges, len(waveform)))
        found.append(10 * np.log10(sums / counts + 10 ** (_FLOOR_DB / 10)))
    return np.concatenate(found)


def speech(level: npt.NDArray[np.float64]) -> list[Span]:
    """Frames that hold speech, with a margin, in order and apart from each other."""
    background, loud = np.percentile(level, (10, 95))
    if loud < _SILENT_DB:
        return []
    if loud - background < _LEAST_CONTRAST:
        return [(0, len(level))]
    threshold = max(background + _THRESHOLD * (loud - background), loud - _DEEPEST)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], level > threshold, [0]]).astype(int)))
    runs = _joined([(int(a), int(b)) for a, b in edges.reshape(-1, 2)], _frames(_PAUSE))
    margin = _frames(_MARGIN)
    kept = [
        (max(0, begin - margin), min(len(level), end + margin))
        for begin, end in runs
        if end - begin >= _frames(_SOUND)
    ]
    return _joined(kept, 1)


def pieces(level: npt.NDArray[np.float64], longest: int) -> list[Span]:
    """Cut a recording into pieces of at most `longest` frames, in its pauses where it has some.

    Args:
        level: of each frame, as `levels` has it, (T,).
        longest: of a piece, in frames; at least 1.

    Returns:
        Pieces in order; without pauses longer than a second, and empty for silence.
    """
    found: list[Span] = []
    for run in speech(level):
        for begin, end in _cut(level, run, longest):
            last = found[-1] if found else None
            near = last is not None and begin - last[1] <= _frames(_LONGEST_PAUSE)
            if last is not None and near and end - last[0] <= longest:
                found[-1] = (last[0], end)
            else:
                found.append((begin, end))
    return found


def _cut(level: npt.NDArray[np.float64], run: Span, longest: int) -> list[Span]:
    """Halve a run at the quietest frame of its middle half until no part is too long."""
    done, left = [], [run]
    while left:
        begin, end = left.pop()
        if end - begin <= longest:
            done.append((begin, end))
            continue
        quarter = (end - begin) // 4
        first = begin + max(1, quarter)
        middle = level[first : max(first + 1, end - quarter)]
        at = first + int(middle.argmin())
        left += [(at, end), (begin, at)]
    return done


def _joined(runs: Sequence[Span], least: int) -> list[Span]:
    """Join runs that are fewer than `least` frames apart."""
    found: list[Span] = []
    for begin, end in runs:
        if found and begin - found[-1][1] < least:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_S)


def find_speech(
    root: Path,
    items: Sequence[tuple[Utterance, AudioInfo, Span]],
    longest_s: float,
    workers: int,
    skipped: list[tuple[str, str]],
    progress: Progress = silent,
) -> list[list[Span] | None]:
    """The pieces of each utterance, in samples of its file; all of it where it is short enough.

    Args:
        root: of the paths.
        items: utterances, with the header of their file and where in it they are, in samples.
        longest_s: of a piece, in seconds.
        workers: threads.
        skipped: receives recordings that cannot be read or hold no speech, whose result is None.
        progress: is called after each utterance.
    """

    def find(item: tuple[Utterance, AudioInfo, Span]) -> list[Span] | str:
        utterance, info, (first, last) = item
        if last - first <= longest_s * info.sample_rate:
            return [(first, last)]
        hop = round(FRAME_S * info.sample_rate)
        entry = os.path.join(root, utterance.path)
        try:
            with AudioReader(f"{entry}:{first}:{last - first}", 0) as reader:
                found = pieces(levels(reader), max(1, int(longest_s * info.sample_rate) // hop))
        except AudioError as error:
            return str(error).removeprefix(f"{entry}:{first}:{last - first}: ")
        spans = [(first + begin * hop, min(last, first + end * hop)) for begin, end in found]
        return spans or "no speech was found in it"

    results: list[list[Span] | None] = []
    for item, found in zip(items, ordered_map(find, items, workers), strict=True):
        if isinstance(found, str):
            skipped.append((item[0].path, found))
        results.append(None if isinstance(found, str) else found)
        progress("read audio", len(results), len(items))
    return results
