"""Find the utterances of a corpus: what each layout on disk says of speaker, text and split.

Second in `mgf prepare`, after the options and before headers are read; corpora with label files of
their own are in corpora_labelled.py, and layouts.py chooses between all of them.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .entries import within_root

# What libsndfile 1.2 reads and people record in. Raw (header-less) formats are left out.
# fmt: off
AUDIO_EXTENSIONS = (
    "wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc",
    "au", "snd", "caf", "w64", "rf64", "nist", "sph", "voc",
)
# fmt: on


class PrepareError(ValueError):
    """The source or an option of `mgf prepare` cannot be used; the message holds the mend."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording, or a stretch of one, before anything of the file itself is read."""

    utt: str
    path: str  # relative to the corpus root, "/" between the parts
    speaker: str | None = None
    text: str | None = None
    emotion: str | None = None
    split: str | None = None
    fold: str | None = None  # of cross-validation: a session, say
    stretch: tuple[float, float] | None = None  # start and end in the recording, in seconds


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of an utterance, in seconds."""

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
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    caveats: tuple[str, ...] = ()  # what a reader of any number on this corpus must know
    valid_from_train: bool = False  # its own splits lack valid, which is then drawn from train


@dataclass(frozen=True)
class Search:
    """Which files count."""

    extensions: tuple[str, ...] = AUDIO_EXTENSIONS
    path_must_contain: str | None = None
    speaker_level: int | None = None  # 1: the first folder under the source, -1: the file's own
    labels_from: Path | None = None  # folder of the label files, where they lie elsewhere


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


def speaker_of(path: str, level: int | None) -> str | None:
    """The path part that names the speaker, or None where the path is too short for `level`."""
    if level is None:
        return None
    parts = path.split(os.sep)
    position = level - 1 if level > 0 else len(parts) + level
    return parts[position] if 0 <= position < len(parts) - 1 else None


def read_folder(source: Path, search: Search) -> Corpus:
    """Any tree of audio files; the speaker is a part of the path where a level is given."""
    root = Path(os.path.realpath(source))
    utterances = [
        Utterance(stem_of(path), path, speaker_of(path, search.speaker_level))
        for path in audio_paths(root, search)
    ]
    return Corpus("folder", root, utterances)


def read_wav_txt(source: Path, search: Search) -> Corpus:
    """Audio files, each beside a .txt of the same name that holds its transcript."""
    corpus = read_folder(source, search)
    utterances = []
    for item in corpus.utterances:
        beside = corpus.root / (os.path.splitext(item.path)[0] + ".txt")
        text = " ".join(read_text(beside).split()) if beside.is_file() else None
        utterances.append(Utterance(item.utt, item.path, item.speaker, text or None))
    return Corpus("wav-txt", corpus.root, utterances)


def read_librispeech(source: Path, search: Search) -> Corpus:
    """`<speaker>/<chapter>/<utt>.flac` with `<speaker>-<chapter>.trans.txt`, any subset(s)."""
    root = Path(os.path.realpath(source))
    transcripts: dict[str, dict[str, str]] = {}
    utterances = []
    for path in audio_paths(root, search):
        folder = os.path.dirname(path)
        if folder not in transcripts:
            transcripts[folder] = _read_transcripts(root / folder)
        utt = stem_of(path)
        level = search.speaker_level
        speaker = speaker_of(path, level) if level is not None else utt.split("-")[0]
        utterances.append(Utterance(utt, path, speaker, transcripts[folder].get(utt)))
    return Corpus("librispeech", root, utterances)


def _read_transcripts(folder: Path) -> dict[str, str]:
    """All `utt WORDS ...` lines of the folder's .trans.txt files."""
    texts: dict[str, str] = {}
    for path in sorted(folder.glob("*.trans.txt")):
        for line in read_lines(path):
            utt, _, text = line.strip().partition(" ")
            if utt and text.strip():
                texts[utt] = " ".join(text.split())
    return texts


def read_table(source: Path, search: Search) -> Corpus:
    """A tab-separated table: columns utt, path, any of speaker, text, emotion, split, fold.

    With columns start and end (seconds) a row is that stretch of its recording, or all of it where
    both are empty. `source` is the table or the folder that holds it as metadata.tsv; paths are
    relative to that folder. phones.tsv beside it (utt, start, end, phone or label; seconds from
    where the utterance begins) gives frame labels.
    """
    table = source / "metadata.tsv" if source.is_dir() else source
    root = Path(os.path.realpath(table.parent))
    utterances = []
    for number, row in enumerate(_read_rows(table, {"utt", "path"}), start=2):
        if not row["utt"] or not row["path"]:
            raise PrepareError(f"{table} line {number}: utt or path is empty; fill or remove it")
        path = row["path"] if os.path.isabs(row["path"]) else within_root(row["path"])
        if path is None or "\0" in path:
            raise PrepareError(
                f"{table} line {number}: path {row['path'][:80]!r} leaves the table's folder; "
                "write the absolute path there, or move the table"
            )
        fragment = search.path_must_contain
        if fragment is not None and fragment not in os.path.join(root, path):
            continue
        if not has_extension(path, search.extensions):
            continue
        level = search.speaker_level
        speaker = speaker_of(path, level) if level is not None else row.get("speaker") or None
        text = " ".join((row.get("text") or "").split())
        utterances.append(
            Utterance(
                row["utt"],
                path,
                speaker,
                text or None,
                row.get("emotion") or None,
                row.get("split") or None,
                row.get("fold") or row.get("session") or None,
                _stretch(row, f"{table} line {number}"),
            )
        )
    if not utterances:
        raise PrepareError(f"{table} names no file that --ext and --path-must-contain let through")
    utterances.sort(key=lambda item: (item.path, item.stretch or (0.0, 0.0)))
    phones = root / "phones.tsv"
    return Corpus("table", root, utterances, _read_phones(phones) if phones.is_file() else {})


def _stretch(row: Mapping[str, str], where: str) -> tuple[float, float] | None:
    """The seconds that a row of a table is of its recording."""
    texts = (row.get("start") or "").strip(), (row.get("end") or "").strip()
    if texts == ("", ""):
        return None
    try:
        start, end = map(float, texts)
    except ValueError:
        start, end = math.nan, math.nan
    if not 0 <= start < end < math.inf:
        raise PrepareError(
            f"{where}: start {texts[0][:40]!r} and end {texts[1][:40]!r} must be seconds of the "
            "recording, 0 <= start < end; or leave both empty for all of it"
        )
    return start, end


def _read_rows(table: Path, needed: set[str]) -> Iterator[dict[str, str]]:
    with open(table, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
        try:
            missing = needed - set(reader.fieldnames or ())
            if missing:
                found = ", ".join(reader.fieldnames or ())
                raise PrepareError(
                    f"{table} has no column {', '.join(sorted(missing))}: its first line must name "
                    f"the columns, with tabs between them (found: {found[:200]})"
                )
            yield from reader
        except UnicodeDecodeError:
            raise _not_text(table) from None
        except csv.Error as error:
            raise PrepareError(f"{table} line {reader.line_num + 1}: {error}") from None


def _read_phones(path: Path) -> dict[str, list[Segment]]:
    """Segments by utterance; an empty label continues the segment before it."""
    phones: dict[str, list[Segment]] = {}
    for number, row in enumerate(_read_rows(path, {"utt", "start", "end"}), start=2):
        segments = phones.setdefault(row["utt"], [])
        label = (row.get("phone") or row.get("label") or "").strip()
        try:
            start, end = float(row["start"]), float(row["end"])
        except ValueError:
            start, end = math.nan, math.nan
        if not (math.isfinite(start) and math.isfinite(end)):
            raise PrepareError(
                f"{path} line {number}: start and end must be seconds, found "
                f"{row['start'][:40]!r} and {row['end'][:40]!r}"
            )
        if not label and segments:
            label = segments[-1].label
        if label:
            segments.append(Segment(start, end, "_".join(label.split())))
    return phones


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """A UTF-8 file, with or without a byte order mark."""
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError:
        raise _not_text(path) from None


def read_lines(path: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a UTF-8 file as iterating over it gives them, which is what fairseq counts.

    `str.splitlines` breaks at more: at U+2028 or U+0085 within a transcript, for instance.
    """
    lines = read_text(path, encoding).split("\n")
    return lines if lines[-1] else lines[:-1]


def _not_text(path: Path) -> PrepareError:
    return PrepareError(f"{path} is not UTF-8 text: convert it, for instance with iconv")
