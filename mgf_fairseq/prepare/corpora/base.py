"""What a corpus is, which files count, and how they are found.

Every layout of this folder returns a `Corpus`; registry.py chooses the layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What libsndfile 1.2 reads and people record in. Raw formats, without a header, are not.
# fmt: off
AUDIO_EXTENSIONS = (
    "wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc",
    "au", "snd", "caf", "w64", "rf64", "nist", "sph", "voc",
)
# fmt: on
# Recordings that libsndfile has no decoder for: listed as skipped.
OTHER_AUDIO = ("m4a", "aac", "wma", "mp4", "webm", "amr", "3gp", "mka", "ape", "wv", "ra")


class PrepareError(ValueError):
    """The source or an option of `mgf prepare` cannot be used; the message holds the fix."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording, or a stretch of one, before anything of the file itself is read."""

    utt: str
    path: str  # relative to the corpus root, "/" between the parts
    speaker: str | None = None
    text: str | None = None  # "": there is a transcript and it is empty; None: there is none
    emotion: str | None = None
    split: str | None = None
    fold: str | None = None  # of cross-validation: a session, say
    stretch: tuple[float, float] | None = None  # start and end in the recording, in seconds
    labels: Mapping[str, str] = field(default_factory=dict)  # of further columns: ending -> class


@dataclass(frozen=True)
class Segment:
    """A labeled stretch of an utterance, in seconds."""

    start: float
    end: float
    label: str


@dataclass(frozen=True)
class Corpus:
    """What a layout holds; `phones` maps utt to its segments in order."""

    layout: str
    root: Path
    utterances: list[Utterance]
    phones: Mapping[str, list[Segment]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    caveats: tuple[str, ...] = ()  # what a reader of any number on this corpus must know
    valid_from_train: bool = False  # its own splits lack valid, which is then drawn from train
    tables: tuple[Path, ...] = ()  # what it was read from, besides the audio
    notes: tuple[str, ...] = ()  # for the person who runs the command


@dataclass(frozen=True)
class Search:
    """Which files count."""

    extensions: tuple[str, ...] = AUDIO_EXTENSIONS
    path_must_contain: str | None = None
    speaker_level: int | None = None  # 1: the first folder under the source, -1: the file's own
    labels_from: Path | None = None  # folder of the label files, where they lie elsewhere
    columns: Mapping[str, str] = field(default_factory=dict)  # "path", "text", ... -> its name
    labels: Mapping[str, str] = field(default_factory=dict)  # ending of a label file -> column


def walk_files(root: Path) -> Iterator[str]:
    """Paths of all files under `root`, relative to it, sorted; links are followed, loops cut."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in sorted(files):
            yield os.path.relpath(os.path.join(folder, name), root)


def stem_of(path: str) -> str:
    """The file name without its extension."""
    return os.path.splitext(os.path.basename(path))[0]


def has_extension(path: str, extensions: Sequence[str]) -> bool:
    """Whether the file name ends in one of `extensions`."""
    return os.path.splitext(path)[1].lower().lstrip(".") in extensions


def audio_paths(root: Path, search: Search) -> list[str]:
    """Sorted paths under `root` of the files that count. Raises PrepareError for none."""
    fragment = search.path_must_contain
    paths = [
        path
        for path in walk_files(root)
        if has_extension(path, search.extensions)
        and (fragment is None or fragment in os.path.join(root, path))
    ]
    if not paths:
        wanted = ",".join(search.extensions)
        also = f" whose path contains {fragment!r}" if fragment else ""
        raise PrepareError(
            f"no audio file (.{wanted.replace(',', ', .')}){also} under {root}: check the folder, "
            "--ext and --path-must-contain"
        )
    return sorted(paths)


def fits_into_manifest(path: str) -> bool:
    """Whether a path can be a line's first column: UTF-8, without tab and line break."""
    return not any(mark in path for mark in "\t\n\r") and not has_broken_text(path)


def unread_audio(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Recordings among the paths that no reader here knows, each with the reason."""
    return [
        (path, "a format that libsndfile does not read: convert it, to FLAC for instance")
        for path in paths
        if has_extension(path, OTHER_AUDIO)
    ]


def speaker_of(path: str, level: int | None) -> str | None:
    """The path part that names the speaker, or None where the path is too short for `level`."""
    if level is None:
        return None
    parts = path.split(os.sep)
    position = level - 1 if level > 0 else len(parts) + level
    return parts[position] if 0 <= position < len(parts) - 1 else None


def resolve_paths(names: Sequence[str], folder: Path) -> tuple[Path, list[str]]:
    """The folder that all files of a table have in common, and their paths below it.

    Relative names are below `folder` or one of its two parents, whichever has one of them (in Kaldi
    and lhotse they count from where the recipe ran, which is above its data folders).
    """
    folder = Path(os.path.realpath(folder))
    relative = [name for name in names if not os.path.isabs(name)]
    bases = (folder, *folder.parents[:2])
    base = next((b for b in bases if any((b / name).exists() for name in relative)), folder)
    paths = [os.path.normpath(base / name) for name in names]
    if not paths:
        return folder, []
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return Path(root), [os.path.relpath(path, root) for path in paths]


def read_tolerant(path: Path) -> str:
    """A text file of which single bytes may be no UTF-8; they become lone surrogates.

    `text_problem` finds them in the item that holds them.
    """
    return decoded(path.read_bytes())


def decoded(blob: bytes) -> str:
    """UTF-8 text with line feeds; what is no UTF-8 becomes lone surrogates."""
    text = blob.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_tolerant_lines(path: Path) -> list[str]:
    """The lines of `read_tolerant`, broken where `read_lines` breaks them."""
    lines = read_tolerant(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def text_problem(text: str) -> str | None:
    """Why a transcript cannot be used, or None."""
    if not text.strip():
        return "its transcript is empty"
    if "|" in text:
        return "its transcript holds '|', the word mark of .ltr: remove it there"
    if "\0" in text:
        return "its transcript holds a NUL byte"
    return "its transcript is not UTF-8 text: convert it" if has_broken_text(text) else None


def has_broken_text(text: str) -> bool:
    """Whether a text holds bytes that were no UTF-8, or half a character."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def require_some(utterances: list[Utterance], root: Path, what: str) -> None:
    """Raise PrepareError where a layout has no utterance; `what` was looked for."""
    if not utterances:
        raise PrepareError(f"{root} holds none of {what}: check the folder and the label files")
