"""The folder that holds features of N utterances: what its files are called, and reading it.

writer.py makes such folders, store.py decides which are made; anything that can
read .npy can read them, since each layer is one array.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = 1
SUMMARY, ROWS, LENGTHS = "features.json", "rows.npy", "lengths.npy"
PROGRESS = "progress.json"  # in NAME.part alone: how far the writer is


class FeatureError(ValueError):
    """Features cannot be written or read; the message names the place and the fix."""


@dataclass(frozen=True)
class FeatureStore:
    """Features of N utterances of a manifest, frame after frame, one array per layer."""

    folder: Path
    layer_names: list[str]
    frame_rate: float  # frames per second
    rows: npt.NDArray[np.int64]  # (N,) manifest rows, counted from 0, that could be read
    lengths: npt.NDArray[np.int64]  # (N,) frames per utterance
    skipped: dict[int, str]  # manifest row -> why it could not be read
    summary: dict[str, Any]  # what features.json says

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,): the frames of utterance i are offsets[i]:offsets[i + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def layer(self, name: str) -> npt.NDArray[Any]:
        """Map the frames of a layer into memory, (sum of lengths, D).

        Raises:
            FeatureError: there is no such layer.
        """
        if name not in self.layer_names:
            there = ", ".join(self.layer_names)
            raise FeatureError(f"{self.folder}: holds no {name!r}; it holds {there}")
        array: npt.NDArray[Any] = np.load(self.folder / layer_file(name), mmap_mode="r")
        return array


def layer_file(name: str) -> str:
    """File name of a layer: ``layer_3.npy`` of "layer 3"."""
    return f"{name.replace(' ', '_')}.npy"


def open_features(folder: str | Path) -> FeatureStore:
    """Open a folder of features.

    Raises:
        FeatureError: there is none, or a file of it is gone or damaged.
    """
    folder = Path(folder)
    again = "remove it and extract again"
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if summary["format"] != FORMAT:
            raise FeatureError(f"{folder}: format {summary['format']}, not {FORMAT}; {again}")
        names = list(summary["layers"])
        rows, lengths = np.load(folder / ROWS), np.load(folder / LENGTHS)
        shapes = [np.load(folder / layer_file(name), mmap_mode="r").shape for name in names]
    except FeatureError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise FeatureError(f"{folder}: no whole folder of features ({error}); {again}") from None
    if any(shape[0] != lengths.sum() for shape in shapes) or len(rows) != len(lengths):
        raise FeatureError(f"{folder}: its arrays differ in length; {again}")
    skipped = {int(item["row"]): str(item["reason"]) for item in summary["left_out"]}
    return FeatureStore(folder, names, summary["frame_rate"], rows, lengths, skipped, summary)
