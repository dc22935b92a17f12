"""What probes learn from: features of a split joined to its labels, as frames or pooled stretches.

Between the feature store with the label files of `mgf prepare`, and the trainers; every mismatch
between the two is found here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgf_fairseq.data import digests
from mgf_fairseq.data.corpora import read_lines
from mgf_fairseq.data.entries import parse_entry
from mgf_fairseq.data.label_files import LABEL_KINDS
from mgf_fairseq.data.labels import RECEPTIVE_FIELD
from mgf_fairseq.data.manifest import Manifest, read_manifest
from mgf_fairseq.feature_files import FeatureStore

Index = npt.NDArray[np.int64]
_TOLERATED = 2  # frames by which labels and features may differ: rounding at the end


class ProbeError(ValueError):
    """A probe cannot be run on this data; the message holds the mend."""


@dataclass(frozen=True)
class LabelledManifest:
    """A split's manifest with its label files, row for row."""

    data: Path
    name: str
    manifest: Manifest
    labels: dict[str, list[str]]  # ending -> one line per row

    @property
    def recordings(self) -> set[str]:
        """The files of its rows; two stretches of one file are one recording."""
        return {self.recording(row) for row in range(len(self.manifest))}

    def recording(self, row: int) -> str:
        """The file that a row is, or is a stretch of."""
        return os.path.normpath(parse_entry(self.manifest.entry(row)).recording)

    def lines_of(self, ending: str, rows: Sequence[int]) -> list[str] | None:
        """The labels of some rows; None where there is no such file."""
        lines = self.labels.get(ending)
        return None if lines is None else [lines[row] for row in rows]

    def audio_key(self, cache: Path, progress: digests.Progress | None = None) -> str:
        """Digest of what its rows hold; what is known of files is kept in a folder of features."""
        table = cache / ".digests" / f"probe-{self.name}.tsv"
        return digests.audio_key(self.manifest, range(len(self.manifest)), table, progress)


def prepare_command(data: Path, endings: Sequence[str]) -> str:
    """The command that writes label files: built-in kinds, and columns of a table."""
    kinds = [ending for ending in endings if ending in LABEL_KINDS]
    columns = [ending for ending in endings if ending not in LABEL_KINDS]
    words = [f" --labels {','.join(kinds)}"] if kinds else []
    words += [f" --label {','.join(columns)}"] if columns else []
    return f"mgf prepare SOURCE --dest {data}{''.join(words)}"


def read_labelled(
    data: Path,
    name: str,
    needed: Sequence[str],
    wanted: Sequence[str] = (),
    receptive_field: int = RECEPTIVE_FIELD,
) -> LabelledManifest:
    """Read `name`.tsv with the label files needed, and those wanted which are there.

    Rows that are too short for a frame, of the upstream or of the labels, need no phones.

    Raises:
        ProbeError: a file is missing, rows differ in number, or a label is empty.
    """
    mend = prepare_command(data, needed)
    shortest = max(receptive_field, RECEPTIVE_FIELD)
    if not (data / f"{name}.tsv").is_file():
        raise ProbeError(f"{data} has no split {name!r} ({name}.tsv): {mend} writes it")
    manifest = read_manifest(data / f"{name}.tsv")
    labels = {}
    for ending in [*needed, *wanted]:
        path = data / f"{name}.{ending}"
        if not path.is_file():
            if ending in needed:
                raise ProbeError(f"{path} does not exist: {mend} writes it")
            continue
        lines = read_lines(path, "utf-8")
        if len(lines) != len(manifest):
            raise ProbeError(
                f"{path}: {len(lines)} labels for {len(manifest)} utterances, so they are not of "
                f"this manifest: {mend} writes both anew"
            )
        empty = next((row for row, line in enumerate(lines) if not line.strip()), None)
        if empty is not None and not (ending == "phn" and manifest.num_samples[empty] < shortest):
            raise ProbeError(
                f"{path} line {empty + 1} is empty: give {manifest.paths[empty]} a label"
            )
        labels[ending] = lines
    return LabelledManifest(data, name, manifest, labels)


def check_disjoint(splits: Sequence[LabelledManifest], claim: str) -> str:
    """Check that no recording, and by the claim "speakers" no speaker, is in two splits.

    Returns what has been checked, in words for the protocol.

    Raises:
        ProbeError: they share one, or a split lacks the speakers that the claim is about.
    """
    by_recording = {split.name: split.recordings for split in splits}
    _check_apart(by_recording, "recording", "take it out of one of the manifests")
    if claim != "speakers":
        return "no recording in two splits"
    without = [split for split in splits if "spk" not in split.labels]
    if without:
        raise ProbeError(
            f"{without[0].data / without[0].name}.spk does not exist, so nobody knows whether "
            f"{', '.join(split.name for split in splits)} share a speaker: mgf prepare with "
            "--labels spk among others writes it; or say --disjoint utterances, and the result "
            "claims no more than that"
        )
    by_speaker = {split.name: set(split.labels["spk"]) for split in splits}
    mend = (
        "split by speaker (mgf prepare --split-by speaker), or say --disjoint utterances if the "
        "corpus is meant so, as the CPC split of LibriSpeech is"
    )
    _check_apart(by_speaker, "speaker", mend)
    return "no recording and no speaker in two splits"


def _check_apart(members: dict[str, set[str]], what: str, mend: str) -> None:
    names = list(members)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = sorted(members[first] & members[second])
            if shared:
                raise ProbeError(
                    f"{first} and {second} share {len(shared)} {what}(s), {shared[0]} for one, so "
                    f"the score would not be of unseen {what}s: {mend}"
                )


@dataclass
class FrameItems:
    """Labelled frames, read from the memory-mapped store as they are needed."""

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
        """(L, n, D) of the items at `index`, which is sorted."""
        return np.stack([layer[self.frames[index]] for layer in self.layers])


@dataclass
class PooledItems:
    """One vector per stretch of speech, in memory."""

    vectors: npt.NDArray[np.float32]  # (L, N, D)
    labels: Index
    utterance: Index

    @property
    def shape(self) -> tuple[int, int]:
        """L layers of width D."""
        return self.vectors.shape[0], self.vectors.shape[2]

    def gather(self, index: Index) -> npt.NDArray[np.floating[Any]]:
        """(L, n, D) of the items at `index`."""
        return self.vectors[:, index]


def layers_of(store: FeatureStore) -> list[npt.NDArray[Any]]:
    """All layers of a store, mapped.

    Raises:
        ProbeError: they differ in width, so no probe fits them all.
    """
    layers = [store.layer(name) for name in store.layer_names]
    widths = {layer.shape[1] for layer in layers}
    if len(widths) > 1:
        raise ProbeError(f"the layers are of widths {sorted(widths)}: probe them apart (--layers)")
    return layers


def frame_items(
    split: LabelledManifest, store: FeatureStore, left_out: Sequence[str], classes: list[str] | None
) -> tuple[FrameItems, list[str]]:
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
    kept = [name for name in names.tolist() if name not in left_out]
    classes = kept if classes is None else classes
    check_known(path, kept, classes, "leave it out of every score (--ignore)")
    position = {name: number for number, name in enumerate(classes)}
    labels = np.array([position.get(name, -1) for name in names.tolist()], np.int64)[codes]
    starts = np.repeat(store.offsets[:-1] - np.cumsum(lengths) + lengths, lengths)
    frame, utterance = starts + np.arange(len(tokens)), np.repeat(store.rows, lengths)
    good = labels >= 0
    if not good.any():
        raise ProbeError(f"{path}: no frame has a label; mgf check {split.data} tells more")
    items = FrameItems(layers_of(store), frame[good], labels[good], utterance[good])
    items.notes = notes if rounded else []
    return items, classes


def _wrong_rate(path: Path, row: int, labels: int, frames: int, frame_rate: float) -> str:
    rate = labels * frame_rate / frames if frames else 0.0
    return (
        f"{path} line {row + 1}: {labels} labels for {frames} feature frames, that is about "
        f"{rate:.0f} labels per second where the features have {frame_rate:g}: mgf prepare writes "
        "one label per encoder frame (20 ms); convert them, or probe an upstream of their rate"
    )


def check_known(path: Path, found: Sequence[str], classes: Sequence[str], mend: str) -> None:
    """Raise ProbeError for a class that train lacks."""
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ProbeError(
            f"{path} holds {len(unknown)} class(es) that train lacks, {unknown[0]!r} for one, "
            f"and no probe can learn them: {mend}"
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


def utterance_means(items: PooledItems) -> tuple[npt.NDArray[np.float32], Index]:
    """Average the items of each utterance, which stand together: (L, U, D), manifest rows (U,)."""
    rows, starts, counts = np.unique(items.utterance, return_index=True, return_counts=True)
    sums = np.add.reduceat(items.vectors, starts, axis=1)
    means: npt.NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)
    return means, rows
