"""A prepared manifest with its labels, checked against each other and against other splits.

The protocols read their splits here before any feature is extracted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import content_digests
from ..data.entries import parse_entry
from ..data.label_lines import read_label_lines
from ..data.manifest import Manifest, read_manifest
from ..encoder.geometry import STANDARD_GRID
from ..prepare.label_files import LABEL_KINDS
from ..utils.progress import Progress


class ProbeError(ValueError):
    """A probe cannot be run on this data; the message names the fix."""


@dataclass(frozen=True)
class LabeledManifest:
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

    def audio_key(self, cache: Path, progress: Progress | None = None) -> str:
        """Digest of what its rows hold; what is known of files is kept in a folder of features."""
        table = cache / ".digests" / f"probe-{self.name}.tsv"
        return content_digests.audio_key(self.manifest, range(len(self.manifest)), table, progress)


def prepare_command(data: Path, endings: Sequence[str]) -> str:
    """The command that writes label files: built-in kinds, and columns of a table."""
    options = {
        "--labels": [ending for ending in endings if ending in LABEL_KINDS],
        "--label": [ending for ending in endings if ending not in LABEL_KINDS],
    }
    words = [f"{option} {','.join(names)}" for option, names in options.items() if names]
    return " ".join([f"mgf prepare SOURCE --dest {data}", *words])


def read_labeled(
    data: Path,
    name: str,
    needed: Sequence[str],
    wanted: Sequence[str] = (),
    receptive_field: int = STANDARD_GRID.receptive_field,
) -> LabeledManifest:
    """Read `name`.tsv with the label files needed, and those wanted which are there.

    Rows that are too short for a frame, of the upstream or of the labels, need no phones.

    Raises:
        ProbeError: a file is missing, or a label is empty.
        ManifestError: the manifest cannot be used, or labels and rows differ in number.
    """
    fix = prepare_command(data, needed)
    shortest = max(receptive_field, STANDARD_GRID.receptive_field)
    manifest_path = data / f"{name}.tsv"
    if not manifest_path.is_file():
        raise ProbeError(f"{data} has no split {name!r} ({name}.tsv): {fix} writes it")
    manifest = read_manifest(manifest_path)
    labels = {}
    for ending in [*needed, *wanted]:
        path = data / f"{name}.{ending}"
        if not path.is_file():
            if ending in needed:
                raise ProbeError(f"{path} does not exist: {fix} writes it")
            continue
        lines = read_label_lines(manifest_path, ending, len(manifest), f"{fix} writes both anew")
        empty = next((row for row, line in enumerate(lines) if not line.strip()), None)
        if empty is not None and not (ending == "phn" and manifest.num_samples[empty] < shortest):
            raise ProbeError(
                f"{path} line {empty + 1} is empty: give {manifest.paths[empty]} a label"
            )
        labels[ending] = lines
    return LabeledManifest(data, name, manifest, labels)


def check_disjoint(splits: Sequence[LabeledManifest], claim: str) -> str:
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
            "--labels spk among others writes it; or pass --disjoint utterances, and the result "
            "claims no more than that"
        )
    by_speaker = {split.name: set(split.labels["spk"]) for split in splits}
    fix = (
        "split by speaker (mgf prepare --split-by speaker), or pass --disjoint utterances if the "
        "corpus is made that way, as the CPC split of LibriSpeech is"
    )
    _check_apart(by_speaker, "speaker", fix)
    return "no recording and no speaker in two splits"


def _check_apart(members: dict[str, set[str]], what: str, fix: str) -> None:
    names = list(members)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = sorted(members[first] & members[second])
            if shared:
                raise ProbeError(
                    f"{first} and {second} share {len(shared)} {what}(s), {shared[0]} for one, so "
                    f"the score would not be of unseen {what}s: {fix}"
                )


def check_known(path: Path, found: Sequence[str], classes: Sequence[str], fix: str) -> None:
    """Raise ProbeError for a class that train lacks."""
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ProbeError(
            f"{path} holds {len(unknown)} class(es) that train lacks, {unknown[0]!r} for one, "
            f"and no probe can learn them: {fix}"
        )
