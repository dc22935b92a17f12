"""Choose how a corpus is read: the table of layouts, and the look at a source that picks one.

The door of `mgf prepare` to the modules corpora_*.py; a new layout is one more entry in `LAYOUTS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ...data.manifest import looks_like_manifest
from .archives import is_archive, read_archives
from .base import Corpus, PrepareError, Search, has_extension, walk_files
from .cpc import read_cpc
from .folder import TRANSCRIPTS, read_folder, read_librispeech, read_wav_txt
from .iemocap import is_iemocap, read_iemocap
from .kaldi import is_kaldi, read_kaldi
from .lhotse import is_lhotse, read_lhotse
from .table import (
    find_table,
    is_common_voice,
    is_hugging_face,
    read_common_voice,
    read_hugging_face,
    read_table,
)
from .table_rows import is_table

_EXAMPLES = 5


@dataclass(frozen=True)
class Look:
    """What is there to recognize a layout by."""

    source: Path
    search: Search

    @cached_property
    def is_folder(self) -> bool:
        """Whether the source is a folder, not a file that is named."""
        return self.source.is_dir()

    @cached_property
    def paths(self) -> list[str]:
        """All files under the folder, or the file itself."""
        return list(walk_files(self.source)) if self.is_folder else [self.source.name]

    @cached_property
    def audio(self) -> list[str]:
        """Those of them that are audio, without extension."""
        found = (path for path in self.paths if has_extension(path, self.search.extensions))
        return [os.path.splitext(path)[0] for path in found]


@dataclass(frozen=True)
class Layout:
    """How one kind of corpus is recognized and read, and which options it knows."""

    read: Callable[[Path, Search], Corpus]
    fits: Callable[[Look], bool] = lambda look: False  # never: --corpus must name it
    files: bool = False  # SOURCE may be a file
    labels_from: bool = False
    columns: bool = False
    label: bool = False


def _has_transcripts(look: Look) -> bool:
    texts = {os.path.splitext(path)[0] for path in look.paths if path.lower().endswith(".txt")}
    return look.is_folder and not texts.isdisjoint(look.audio)


# The first that fits is taken; `cpc` is never guessed, for its audio is LibriSpeech's.
LAYOUTS: dict[str, Layout] = {
    "common-voice": Layout(
        read_common_voice,
        lambda look: (
            is_common_voice(look.source) and not (look.is_folder and find_table(look.source))
        ),
        files=True,
        columns=True,
        label=True,
    ),
    "huggingface": Layout(
        read_hugging_face,
        lambda look: look.is_folder and is_hugging_face(look.source),
        columns=True,
        label=True,
    ),
    "lhotse": Layout(
        read_lhotse,
        lambda look: is_lhotse(look.source) and not (look.is_folder and find_table(look.source)),
        files=True,
        label=True,
    ),
    "table": Layout(
        read_table,
        lambda look: (
            find_table(look.source) is not None if look.is_folder else not is_archive(look.source)
        ),
        files=True,
        columns=True,
        label=True,
    ),
    "kaldi": Layout(read_kaldi, lambda look: look.is_folder and is_kaldi(look.source), label=True),
    "iemocap": Layout(
        read_iemocap, lambda look: look.is_folder and is_iemocap(look.source), labels_from=True
    ),
    "cpc": Layout(read_cpc, labels_from=True),
    "librispeech": Layout(
        read_librispeech,
        lambda look: any(path.lower().endswith(TRANSCRIPTS) for path in look.paths),
    ),
    "archives": Layout(
        read_archives,
        lambda look: any(map(is_archive, look.paths)) and not look.audio,
        files=True,
    ),
    "wav-txt": Layout(read_wav_txt, _has_transcripts),
    "folder": Layout(read_folder, lambda look: look.is_folder),
}


def detect_layout(source: Path, search: Search) -> str:
    """Which of `LAYOUTS` fits. Raises PrepareError where the source does not exist."""
    _require(source)
    look = Look(source, search)
    return next(name for name, layout in LAYOUTS.items() if layout.fits(look))


def read_corpus(source: Path, layout: str, search: Search) -> Corpus:
    """Read `source` as `layout`, one of `LAYOUTS` or "auto". Raises PrepareError."""
    if layout == "auto":
        layout = detect_layout(source, search)
    _require(source)
    chosen = LAYOUTS[layout]
    if not chosen.files and not source.is_dir():
        raise PrepareError(f"{source} is not a folder, which --corpus {layout} needs")
    for option, given, known in (
        ("--labels-from", search.labels_from is not None, "labels_from"),
        ("--columns", bool(search.columns), "columns"),
        ("--label", bool(search.labels), "label"),
    ):
        if given and not getattr(chosen, known):
            others = sorted(name for name, each in LAYOUTS.items() if getattr(each, known))
            raise PrepareError(
                f"{option} belongs to --corpus {', '.join(others)}, and this is {layout}: name the "
                "corpus, or leave the option out"
            )
    corpus = chosen.read(source, search)
    return replace(corpus, notes=(*corpus.notes, *_unread_tables(source, corpus)))


def _require(source: Path) -> None:
    if not source.exists():
        raise PrepareError(f"{source} does not exist: give the folder that holds the recordings")


def _unread_tables(source: Path, corpus: Corpus) -> list[str]:
    """A note on tables in the source that were not read; manifests are none."""
    if not source.is_dir():
        return []
    read = {os.path.realpath(path) for path in corpus.tables}
    unread = [
        path
        for path in sorted([*source.iterdir(), *source.glob("*/*")])
        if is_table(path)
        and path.is_file()
        and os.path.realpath(path) not in read
        and not looks_like_manifest(path)
    ]
    if not unread:
        return []
    shown = ", ".join(str(path.relative_to(source)) for path in unread[:_EXAMPLES])
    return [
        f"{len(unread)} table(s) seen and not read: {shown}; `mgf prepare {unread[0]} --dest DIR` "
        "reads one, --columns says which column is what"
    ]
