"""Entries of manifests: a file, a file stored in an archive, or a segment of either.

Parsed here for all code that reads or moves audio; `manifest.py` reads the lines they are in.
"""

from __future__ import annotations

import os
from typing import NamedTuple

MOST_DIGITS = 18  # of a whole number: what fits into int64
ARCHIVES = (".zip", ".tar")


class ManifestError(ValueError):
    """A manifest, or one line of it, cannot be used; the message names the place and the fix."""


def within_root(path: str) -> str | None:
    """A relative path as it is read below a root, or None if it leads out of the root.

    `x/../a.wav` is `a.wav` even where `x` is a link: what the text says, not where it leads.
    """
    if ".." not in path:
        return path
    path = os.path.normpath(path)
    return None if path.split(os.sep)[0] == ".." else path


class Stretch(NamedTuple):
    """A part of a file, in bytes or in samples."""

    start: int
    length: int


class Entry(NamedTuple):
    """A parsed entry: a file, or a part of one."""

    path: str
    member: Stretch | None = None  # bytes of a file that is stored in the archive at `path`
    segment: Stretch | None = None  # samples of the audio, at its own rate

    @property
    def archived(self) -> bool:
        """Whether the audio is a file stored inside an archive."""
        return self.member is not None

    @property
    def recording(self) -> str:
        """The entry of the whole recording, which all its segments share."""
        return ":".join([self.path, *map(str, self.member or ())])


def parse_entry(entry: str) -> Entry:
    """Split an entry into file, stored bytes and segment.

    The forms are `path`, `archive:byte_offset:byte_length` for a file stored in a .zip or .tar
    (fairseq/data/audio/audio_utils.py `parse_path`), and either followed by `:start:num_samples`
    for a segment. Only two trailing whole numbers name a part, so a path may hold colons.
    Raises ManifestError for a part without length.
    """
    path, last = _split_stretch(entry, entry)
    if last is None or path.lower().endswith(ARCHIVES):
        return Entry(path, last)
    archive, member = _split_stretch(path, entry)
    if member is not None and archive.lower().endswith(ARCHIVES):
        return Entry(archive, member, last)
    return Entry(path, None, last)


def _split_stretch(text: str, entry: str) -> tuple[str, Stretch | None]:
    """Split `:start:length` off the end of a text, if it ends like that."""
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[0]:
        return text, None
    path, start, length = parts
    if not (is_count(start) and is_count(length)):
        return text, None
    if int(length) == 0:
        raise ManifestError(f"entry {entry!r} asks for 0 samples: remove the line")
    return path, Stretch(int(start), int(length))


def is_count(text: str) -> bool:
    """Whether a text is a whole number of a size that files have."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
