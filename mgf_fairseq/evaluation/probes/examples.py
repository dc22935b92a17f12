"""What probes learn from: features of a split joined to its labels, as frames or pooled stretches.

Between the feature store with the labels of labeled.py, and the trainers; every mismatch between
the two is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...extract.folder import FeatureStore
from ..labeled import LabeledManifest, ProbeError, check_known

Index = npt.NDArray[np.int64]
_TOLERATED = 2  # frames by which labels and features may differ: rounding at the end


@dataclass
class FrameExamples:
    """Labeled frames, read from the memory-mapped store as they are needed."""

    layers: list[npt.NDArray[Any]]  # L of (T, D)
    frames: Index  # (N,) rows of the layers
    labels: Index  # (N,)
    utterance: Index  # (N,) manifest row
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """L layers of width D."""
        return len(self.layers), self.layers[0].shape[1]

    def gather(self, index: Index) -> npt.NDArray[np.floating[Any]]:
        """(L, n, D) of the examples at `index`, which is sorted."""
        return np.stack([layer[self.frames[index]] for layer in self.layers])


@dataclass
class PooledExamples:
    """One vector per stretch of speech, in memory."""

    vectors: npt.NDArray[np.float32]  # (L, N, D)
    labels: Index
    utterance: Index

    @property
    def shape(self) -> tuple[int, int]:
        """L layers of width D."""
        return self.vectors.shape[0], self.vectors.shape[2]

    def gather(self, index: Index) -> npt.NDArray[np.floating[Any]]:
        """(L, n, D) of the examples at `index`."""
        return self.vectors[:, index]


def layers_of(store: FeatureStore) -> list[npt.NDArray[Any]]:
    """All layers of a store, mapped: L of (frames of all rows, D).

    Raises:
        ProbeError: they differ in width, so no probe fits them all.
    """
    layers = [store.layer(name) for name in store.layer_names]
    widths = {layer.shape[1] for layer in layers}
    if len(widths) > 1:
        raise ProbeError(f"the layers are of widths {sorted(widths)}: probe them apart (--layers)")
    return layers


def frame_examples(
    split: LabeledManifest, store: FeatureStore, ignored: Sequence[str], classes: list[str] | None
) -> tuple[FrameExamples, list[str]]:
    """Join frames to `.phn` labels; without `classes`, those that occur become the classes.

    Raises:
        ProbeError: labels and frames differ by more than rounding, or a label is no class.
    """
    path = split.data / f"{split.name}.phn"
    tokens: list[str] = []
    lengths = np.empty(len(store.rows), np.int64)
    rounded = 0
    for number, (row, frames) in enumerate(
        zip(store.rows.tolist(), store.lengths.tolist(), strict=True)
    ):
        line = split.labels["phn"][row].split()
        if abs(len(line) - frames) > _TOLERATED:
            raise ProbeError(_wrong_rate(path, row, len(line), frames, store.frame_rate))
        rounded += len(line) != frames
        lengths[number] = min(len(line), frames)
        tokens += line[:frames]
    notes = [f"{rounded} row(s) of {split.name} cut to the shorter of labels and frames"]
    names, codes = np.unique(np.asarray(tokens, dtype=np.str_), return_inverse=True)
    kept = [name for name in names.tolist() if name not in ignored]
    classes = kept if classes is None else classes
    check_known(path, kept, classes, "leave it out of every score (--ignore)")
    position = {name: number for number, name in enumerate(classes)}
    labels = np.array([position.get(name, -1) for name in names.tolist()], np.int64)[codes]
    starts = np.repeat(store.offsets[:-1] - np.cumsum(lengths) + lengths, lengths)
    frame, utterance = starts + np.arange(len(tokens)), np.repeat(store.rows, lengths)
    good = labels >= 0
    if not good.any():
        raise ProbeError(f"{path}: no frame has a label; mgf check {split.data} says why")
    examples = FrameExamples(layers_of(store), frame[good], labels[good], utterance[good])
    examples.notes = notes if rounded else []
    return examples, classes


def _wrong_rate(path: Path, row: int, labels: int, frames: int, frame_rate: float) -> str:
    rate = labels * frame_rate / frames if frames else 0.0
    return (
        f"{path} line {row + 1}: {labels} labels for {frames} feature frames, that is about "
        f"{rate:.0f} labels per second where the features have {frame_rate:g}: mgf prepare writes "
        "one label per encoder frame (20 ms); convert them, or probe an upstream of their rate"
    )


def mean_of(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(T, D) -> (D,)."""
    pooled: npt.NDArray[np.float32] = frames.mean(axis=0)
    return pooled


def mean_and_deviation_of(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(T, D) -> (2 D,)."""
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


POOLINGS: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
    "mean": mean_of,
    "mean+std": mean_and_deviation_of,
}


def pool(store: FeatureStore, pooling: str) -> tuple[npt.NDArray[np.float32], Index]:
    """Pool the frames of each utterance: (L, N, D), manifest rows (N,)."""
    function = POOLINGS[pooling]
    stretches = [
        slice(start, start + length)
        for start, length in zip(store.offsets[:-1].tolist(), store.lengths.tolist(), strict=True)
        if length
    ]
    if not stretches:
        raise ProbeError(f"{store.folder}: no utterance has a frame")
    pooled = [
        np.stack([function(np.asarray(layer[stretch], np.float32)) for stretch in stretches])
        for layer in layers_of(store)
    ]
    return np.stack(pooled), store.rows[store.lengths > 0]


def segment_vectors(store: FeatureStore) -> tuple[npt.NDArray[np.float32], Index]:
    """All vectors of a store that holds one per segment: (L, N, D), manifest rows (N,)."""
    vectors = np.stack([np.asarray(layer, np.float32) for layer in layers_of(store)])
    return vectors, np.repeat(store.rows, store.lengths)


def utterance_means(examples: PooledExamples) -> tuple[npt.NDArray[np.float32], Index]:
    """Average the consecutive examples of each utterance: (L, U, D), manifest rows (U,)."""
    rows, starts, counts = np.unique(examples.utterance, return_index=True, return_counts=True)
    sums = np.add.reduceat(examples.vectors, starts, axis=1)
    means: npt.NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means, rows
