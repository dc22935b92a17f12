"""Choose how a corpus is read: the table of layouts, and the look at a folder that picks one.

The door of `mgf prepare` to corpora.py and corpora_labelled.py; a new layout is one more entry in
`READERS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .corpora import (
    Corpus,
    PrepareError,
    Search,
    has_extension,
    read_folder,
    read_librispeech,
    read_table,
    read_wav_txt,
    walk_files,
)
from .corpora_archives import is_archive, read_archives
from .corpora_labelled import is_iemocap, read_cpc, read_iemocap

READERS: dict[str, Callable[[Path, Search], Corpus]] = {
    "archives": read_archives,
    "cpc": read_cpc,
    "folder": read_folder,
    "iemocap": read_iemocap,
    "librispeech": read_librispeech,
    "table": read_table,
    "wav-txt": read_wav_txt,
}


def detect_layout(source: Path, search: Search) -> str:
    """Which of `READERS` fits; `cpc` is never guessed, for its audio is LibriSpeech's.

    Raises PrepareError where the source does not exist.
    """
    if not source.exists():
        raise PrepareError(f"{source} does not exist: give the folder that holds the recordings")
    if source.is_file():
        return "archives" if is_archive(source) else "table"
    if (source / "metadata.tsv").is_file():
        return "table"
    if is_iemocap(source):
        return "iemocap"
    texts: set[str] = set()
    audio: set[str] = set()
    packed = False
    for path in walk_files(source):
        packed = packed or is_archive(path)
        if path.endswith(".trans.txt"):
            return "librispeech"
        if path.endswith(".txt"):
            texts.add(path[:-4])
        elif has_extension(path, search.extensions):
            audio.add(os.path.splitext(path)[0])
    if packed and not audio:
        return "archives"
    return "wav-txt" if texts & audio else "folder"


def read_corpus(source: Path, layout: str, search: Search) -> Corpus:
    """Read `source` as `layout`, one of `READERS` or "auto". Raises PrepareError."""
    if layout == "auto":
        layout = detect_layout(source, search)
    if not source.exists():
        raise PrepareError(f"{source} does not exist: give the folder that holds the recordings")
    if layout not in ("table", "archives") and not source.is_dir():
        raise PrepareError(f"{source} is not a folder, which --corpus {layout} needs")
    if search.labels_from is not None and layout not in ("cpc", "iemocap"):
        raise PrepareError(
            f"--labels-from belongs to --corpus cpc and iemocap, and this is {layout}: name the "
            "corpus, or leave the option out"
        )
    return READERS[layout](source, search)
