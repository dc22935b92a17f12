"""Write the recordings of a corpus as mono FLAC files of one rate: `mgf prepare --convert`.

Called by `prepare` before it writes manifests and labels, so that a recording which cannot be
converted is skipped in both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from ..data.audio import AudioError, AudioReader
from ..data.entries import parse_entry
from ..utils.atomic import replacing
from ..utils.progress import Progress, silent
from ..utils.threads import map_with_progress

FOLDER = "converted"  # below the folder of the manifests
# Codings of more than 16 bits.
FINE_SUBTYPES = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_24", "ALAC_32")
_BLOCK_SECONDS = 300  # held in memory at once


class ConvertError(ValueError):
    """The recordings cannot be converted; the message holds the fix."""


class Converted(NamedTuple):
    """A file that was written, or kept from an earlier run."""

    name: str  # below the folder of the converted files
    num_samples: int
    kept: bool


@dataclass(frozen=True)
class Conversion:
    """From where to where, and at which rate; refuses to write among the recordings."""

    source: Path  # what the user named
    root: Path  # that entries are relative to
    dest: Path  # of the manifests
    sample_rate: int

    def __post_init__(self) -> None:
        source = self.source.resolve()
        if self.folder.is_relative_to(source if source.is_dir() else source.parent):
            raise ConvertError(
                f"--convert writes into {self.folder}, inside of {self.source}, where the next run "
                "would take it for recordings: choose a --dest outside"
            )

    @property
    def folder(self) -> Path:
        """The root of the manifests to come."""
        return self.dest.resolve() / FOLDER

    def convert_all(
        self, entries: Iterable[str], workers: int, progress: Progress = silent
    ) -> tuple[dict[str, Converted], list[tuple[str, str]]]:
        """Convert each entry once, in several threads: files by entry; what failed, and why.

        Raises:
            ConvertError: not one can be converted.
        """
        names = _file_names(entries)
        done: dict[str, Converted] = {}
        failed: list[tuple[str, str]] = []

        def one(entry: str) -> Converted | str:
            return self._convert(entry, names[entry])

        for entry, result in map_with_progress(one, names, workers, "converting", progress):
            if isinstance(result, str):
                failed.append((entry, result))
            else:
                done[entry] = result
        if not done:
            entry, reason = failed[0]
            raise ConvertError(f"none of {len(names)} recordings can be read ({entry}: {reason})")
        return done, failed

    def summary(self, done: Mapping[str, Converted]) -> str:
        """What was written."""
        kept = sum(file.kept for file in done.values())
        again = f", {kept} of them from an earlier run" if kept else ""
        return f"{len(done)} files of {self.sample_rate} Hz, mono, under {self.folder}{again}"

    def _convert(self, entry: str, name: str) -> Converted | str:
        """Write one file, unless an earlier run has; the reason where it cannot be read."""
        source = os.path.join(self.root, entry)
        target = self.folder / name
        try:
            modified = _modified(source)
            with AudioReader(source, self.sample_rate) as reader:
                count = reader.num_samples
                if self._is_done(target, count, modified):
                    return Converted(name, count, kept=True)
                with replacing(target) as temporary:
                    _write_flac(reader, temporary)
                    os.utime(temporary, ns=(modified, modified))
        except AudioError as error:
            return str(error).removeprefix(f"{source}: ")
        return Converted(name, count, kept=False)

    def _is_done(self, target: Path, count: int, modified: int) -> bool:
        """Whether the file is there, as long as the recording and dated as it is."""
        try:
            if target.stat().st_mtime_ns != modified:
                return False
            found = soundfile.info(target)
        except (OSError, soundfile.SoundFileError):
            return False
        return (found.frames, found.samplerate, found.channels) == (count, self.sample_rate, 1)


def _file_names(entries: Iterable[str]) -> dict[str, str]:
    """A file name for each entry, no two the same: the path, ending in .flac."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for entry in dict.fromkeys(entries):
        plain = os.path.normpath(entry.replace(":", "_")).replace(f"..{os.sep}", "").lstrip(os.sep)
        stem, ending = os.path.splitext(plain)
        parsed = parse_entry(entry)
        name = f"{plain if parsed.member or parsed.segment else stem}.flac"
        number = 0
        while name in taken:
            name = f"{stem}{ending}.{number}.flac" if number else f"{stem}{ending}.flac"
            number += 1
        taken.add(name)
        names[entry] = name
    return names


def _modified(source: str) -> int:
    """When the file of an entry, which may be a segment or lie in an archive, was last written."""
    for path in (parse_entry(source).path, source):
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            continue
    raise AudioError(f"{source}: no such file")


def _write_flac(reader: AudioReader, path: Path) -> None:
    """Write what the reader gives, block by block: 24 bits where it has more than 16, else 16."""
    bits = 24 if reader.subtype in FINE_SUBTYPES else 16
    rate = reader.sample_rate
    with soundfile.SoundFile(path, "w", rate, 1, f"PCM_{bits}", format="FLAC") as file:
        block = _BLOCK_SECONDS * rate
        for start in range(0, reader.num_samples, block):
            waveform = reader.read(start, min(block, reader.num_samples - start))
            file.write(as_integers(waveform, bits))


def as_integers(waveform: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.int32]:
    """(S,) -> (S,) whole numbers at the top of 32 bits, clipped at full scale.

    libsndfile would scale floats by one less than it has divided by.
    """
    limit = 2.0 ** (bits - 1)
    samples = np.clip(np.rint(waveform.astype(np.float64) * limit), -limit, limit - 1)
    return samples.astype(np.int32) << (32 - bits)
