"""What to transcribe or classify: files, folders, manifests, and standard input, as one list.

First in `mgf transcribe` and `mgf classify`; whether a file is audio is found out when it is read.
"""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..data.manifest import read_manifest
from ..prepare.corpora.base import AUDIO_EXTENSIONS, has_extension, walk_files

STDIN = "-"
_HEAD = 4096  # bytes that decide whether standard input is audio


class SourceError(ValueError):
    """There is nothing to transcribe or classify; the message says why and what to give."""


@dataclass(frozen=True)
class Source:
    """A recording to read."""

    name: str  # what people call it
    entry: str  # what is read: a path, or an entry as in manifests
    stem: str  # path of what is written about it, below a folder, without an extension


@contextmanager
def found_sources(given: Sequence[str], stdin: BinaryIO) -> Iterator[list[Source]]:
    """List the recordings of files, folders, manifests (.tsv) and standard input (``-``).

    Standard input is one path per line, or the audio itself: audio holds NUL bytes, or bytes that
    are no UTF-8, near its beginning. It is kept in a temporary file, since audio files are read by
    seeking.

    Raises:
        SourceError: a folder holds no audio, or standard input is empty or given twice.
        ManifestError: a manifest cannot be used.
    """
    if list(given).count(STDIN) > 1:
        raise SourceError("standard input (-) is given twice; give it once")
    with tempfile.NamedTemporaryFile(prefix="mgf-", suffix=".audio") as spooled:
        sources: list[Source] = []
        for text in given:
            if text == STDIN:
                sources += _from_stdin(stdin, spooled)
            else:
                sources += _from_path(text)
        yield sources


def _from_path(text: str) -> list[Source]:
    path = Path(text)
    if path.is_dir():
        names = [name for name in walk_files(path) if has_extension(name, AUDIO_EXTENSIONS)]
        if not names:
            raise SourceError(
                f"{text}: no audio file in this folder (.{', .'.join(AUDIO_EXTENSIONS)}); "
                "give files with other endings by name"
            )
        return [_source(os.path.join(text, name), name) for name in sorted(names)]
    if path.suffix == ".tsv":
        manifest = read_manifest(path)
        manifest.require_root()
        entries = ((manifest.entry(row), manifest.paths[row]) for row in range(len(manifest)))
        return [_source(entry, name) for entry, name in entries]
    return [_source(text, path.name)]


def _source(entry: str, name: str) -> Source:
    stem = os.path.splitext(name)[0] if has_extension(name, AUDIO_EXTENSIONS) else name
    return Source(entry, entry, stem.lstrip(os.sep))


def _from_stdin(stdin: BinaryIO, spooled: Any) -> list[Source]:
    head = stdin.read(_HEAD)
    if not head:
        raise SourceError("standard input is empty; pipe paths, one per line, or audio into it")
    if _is_audio(head):
        spooled.write(head)
        while block := stdin.read(2**20):
            spooled.write(block)
        spooled.flush()
        return [Source(STDIN, spooled.name, "stdin")]
    lines = (head + stdin.read()).decode("utf-8", errors="surrogateescape").splitlines()
    paths = [line for line in lines if line.strip()]
    if not paths:
        raise SourceError("standard input holds no path; give one per line")
    return [source for path in paths for source in _from_path(path)]


def _is_audio(head: bytes) -> bool:
    if b"\0" in head:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # its last letter may be cut
    except UnicodeDecodeError:
        return True
    return False
