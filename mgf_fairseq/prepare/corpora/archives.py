"""Find the utterances inside .zip and .tar archives, which stay packed.

One of the layouts of `mgf prepare`: manifests name where in its archive each audio file lies.
"""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...data.entries import ARCHIVES
from ..packing import members
from .base import (
    Corpus,
    PrepareError,
    Search,
    Utterance,
    decoded,
    has_extension,
    speaker_of,
    stem_of,
    unread_audio,
    walk_files,
)

_ENCRYPTED = 1  # flag of a file in a zip
# What Python's readers raise on a directory that is no directory, or of a kind they do not know.
_UNREADABLE = (
    *(zipfile.BadZipFile, tarfile.TarError, struct.error),
    *(NotImplementedError, UnicodeDecodeError),
)
_MOST_TEXT = 1 << 20  # bytes; a longer .txt is no transcript


class _Member(NamedTuple):
    """A file in an archive."""

    name: str
    start: int
    length: int
    stored: bool  # as it is: neither compressed nor encrypted


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends as those of the archives that are read in place."""
    return os.fspath(path).lower().endswith(ARCHIVES)


def read_archives(source: Path, search: Search) -> Corpus:
    """Every audio file in the archives under `source`, or in `source` itself.

    A .txt of the same name in the same archive is its transcript, as in WebDataset. Compressed
    files are left out, for their bytes cannot be read in place.
    """
    root = Path(os.path.realpath(source if source.is_dir() else source.parent))
    names = [path for path in walk_files(root) if is_archive(path)]
    if not source.is_dir():
        names = [source.name]
    utterances: list[Utterance] = []
    left_out: list[tuple[str, str]] = []
    for name in names:
        found, older = _without_namesakes(_list(root / name))
        reason = "a later file of this name in its archive takes its place"
        left_out += [
            (f"{name}/{member.name}", reason)
            for member in older
            if has_extension(member.name, search.extensions)
        ]
        left_out += unread_audio(f"{name}/{member.name}" for member in found)
        texts = _texts(root / name, found)
        for member in found:
            if not has_extension(member.name, search.extensions):
                continue
            if search.path_must_contain and search.path_must_contain not in member.name:
                continue
            if not member.stored:
                left_out.append(
                    (f"{name}/{member.name}", "compressed in its archive: zip -0 stores")
                )
                continue
            speaker = speaker_of(member.name, search.speaker_level)
            text = texts.get(os.path.splitext(member.name)[0])
            path = f"{name}:{member.start}:{member.length}"
            utterances.append(Utterance(stem_of(member.name), path, speaker, text))
    if not utterances:
        why = f": {left_out[0][0]} is {left_out[0][1]}" if left_out else ""
        raise PrepareError(
            f"no audio file (.{', .'.join(search.extensions)}) that could be read in place in the "
            f"archives of {source}{why}"
        )
    return Corpus("archives", root, utterances, left_out=left_out)


def _without_namesakes(members: list[_Member]) -> tuple[list[_Member], list[_Member]]:
    """The last file of each name, which unpacking would leave, and the others."""
    last = {member.name: number for number, member in enumerate(members)}
    kept = [member for number, member in enumerate(members) if last[member.name] == number]
    return kept, [m for number, m in enumerate(members) if last[m.name] != number]


def _list(path: Path) -> list[_Member]:
    """The files of an archive. Raises PrepareError where it is none."""
    try:
        return list(_zip_members(path) if path.suffix.lower() == ".zip" else _tar_members(path))
    except (*_UNREADABLE, OSError) as error:
        raise PrepareError(
            f"{path} cannot be read as an archive ({error}): fetch it again, or take it out"
        ) from error


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    for info, (start, length) in zip(infos, members(path), strict=True):
        if not info.is_dir() and length:
            plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & _ENCRYPTED
            yield _Member(info.filename, start, length, plain)


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isreg() and info.size:
                name = info.name.encode("utf-8", "replace").decode("utf-8")
                yield _Member(name, info.offset_data, info.size, not info.issparse())


def _texts(path: Path, found: list[_Member]) -> dict[str, str]:
    """What the .txt files of an archive say, by name without ending."""
    texts = {}
    with open(path, "rb") as stream:
        for member in found:
            stem, ending = os.path.splitext(member.name)
            if ending.lower() == ".txt" and member.stored and member.length <= _MOST_TEXT:
                stream.seek(member.start)
                texts[stem] = " ".join(decoded(stream.read(member.length)).split())
    return texts
