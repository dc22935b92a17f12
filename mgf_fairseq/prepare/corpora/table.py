"""A table (.tsv) that names audio files, with text, speaker, split and other columns.

The layout of `mgf prepare` for every corpus that has no layout of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .base import Corpus, PrepareError, Search, Segment, Utterance, walk_files
from .columns import find_columns, read_row, split_called, unread_columns
from .table_rows import table_columns, table_rows

METADATA = ("metadata.tsv", "metadata.csv", "metadata.jsonl")
PHONES = "phones.tsv"
CLIPS = "clips"
_COMMON_VOICE = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}
_ALL_OF_IT = "validated.tsv"
_EXAMPLES = 3


def find_table(source: Path, names: Sequence[str] = METADATA) -> Path | None:
    """The table that a folder holds under one of these names, in any case."""
    there = {path.name.lower(): path for path in source.iterdir() if path.is_file()}
    return next((there[name] for name in names if name in there), None)


def read_table(source: Path, search: Search) -> Corpus:
    """A table with a column of paths, and any of those in `columns.ROLES`.

    With columns start and end (seconds) a row is that stretch of its recording, or all of it where
    both are empty. `source` is the table or the folder that holds it as metadata.tsv, .csv or
    .jsonl; paths are relative to that folder. phones.tsv beside it (utt, start, end, phone or
    label; seconds from where the utterance begins) gives frame labels.
    """
    table = find_table(source) if source.is_dir() else source
    if table is None:
        raise PrepareError(f"{source} holds no {', '.join(METADATA)}: name the table itself")
    root = Path(os.path.realpath(table.parent))
    corpus = _read_tables("table", root, [(table, "", None)], search)
    phones = root / PHONES
    if not phones.is_file():
        return corpus
    segments, notes = _read_phones(phones)
    notes += _drop_ambiguous(corpus.utterances, segments)
    return replace(
        corpus,
        phones=segments,
        tables=(*corpus.tables, phones),
        notes=(*corpus.notes, *notes),
    )


def is_common_voice(source: Path) -> bool:
    """Whether a folder, or the table that is named, is Common Voice's: clips/ and its columns."""
    folder = source if source.is_dir() else source.parent
    if not (folder / CLIPS).is_dir():
        return False
    tables = [source] if source.is_file() else [path for path, _, _ in _voice_tables(folder)]
    return any({"client_id", "path", "sentence"} <= set(table_columns(path)) for path in tables)


def _voice_tables(folder: Path) -> list[tuple[Path, str, str | None]]:
    """Its own splits where it has train.tsv; else all that was validated, without a split."""
    splits = [(folder / name, CLIPS, split) for split, name in _COMMON_VOICE.items()]
    there = [each for each in splits if each[0].is_file()]
    everything = folder / _ALL_OF_IT
    if not (folder / _COMMON_VOICE["train"]).is_file() and everything.is_file():
        return [(everything, CLIPS, None)]
    if len(there) == 1:  # one table is no split into several
        return [(there[0][0], CLIPS, None)]
    return list(there)


def read_common_voice(source: Path, search: Search) -> Corpus:
    """Common Voice: train.tsv, dev.tsv and test.tsv (dev becomes valid), else validated.tsv.

    `source` is its folder, or one of its tables. The audio lies in clips/.
    """
    folder = source if source.is_dir() else source.parent
    tables = [(source, CLIPS, None)] if source.is_file() else _voice_tables(folder)
    if not tables:
        raise PrepareError(f"{folder} holds neither {_ALL_OF_IT} nor {_COMMON_VOICE['train']}")
    return _read_tables("common-voice", Path(os.path.realpath(folder)), tables, search)


def is_hugging_face(source: Path) -> bool:
    """Whether a folder is an audio folder with metadata.csv or .jsonl that has file_name."""
    if (source / METADATA[0]).is_file():
        return False
    return any("file_name" in table_columns(table) for table, _, _ in _hugging_face_tables(source))


def _hugging_face_tables(source: Path) -> list[tuple[Path, str, str | None]]:
    """Tables of the folder and of those below it, which are called after splits."""
    found = []
    for path in walk_files(source):
        folder, name = os.path.split(path)
        if name.lower() in METADATA[1:]:
            split = split_called(os.path.basename(folder)) if folder else None
            found.append((source / path, folder, split))
    return found


def read_hugging_face(source: Path, search: Search) -> Corpus:
    """Hugging Face's audio folder: metadata.csv or .jsonl with file_name, in one folder per split.

    Files that lie in several folders keep those as their splits (validation becomes valid).
    """
    tables = _hugging_face_tables(source)
    if not tables:
        raise PrepareError(f"{source} holds no metadata.csv or metadata.jsonl")
    if len(tables) == 1:
        tables = [(tables[0][0], tables[0][1], None)]
    return _read_tables("huggingface", Path(os.path.realpath(source)), tables, search)


def _read_tables(
    layout: str,
    root: Path,
    tables: Sequence[tuple[Path, str, str | None]],
    search: Search,
) -> Corpus:
    """The rows of tables; each comes with the folder of its paths and the split of its rows."""
    utterances: list[Utterance] = []
    left_out: list[tuple[str, str]] = []
    notes: list[str] = []
    for table, folder, split in tables:
        names = table_columns(table)
        columns = find_columns(table, names, search)
        for row in table_rows(table):
            item = read_row(row, columns, search, folder)
            if isinstance(item, str):
                left_out.append((row.where, item))
            elif item is not None:
                utterances.append(item if split is None else replace(item, split=split))
        notes += [note for note in unread_columns(names, columns) if note not in notes]
    if not utterances:
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise PrepareError(
            f"{tables[0][0]} names no file that can be used and that --ext and "
            f"--path-must-contain let through{why}"
        )
    utterances.sort(key=lambda item: (item.path, item.stretch or (0.0, 0.0)))
    read = tuple(table for table, _, _ in tables)
    return Corpus(layout, root, utterances, left_out=left_out, tables=read, notes=tuple(notes))


def _read_phones(path: Path) -> tuple[dict[str, list[Segment]], list[str]]:
    """Segments by utterance; an empty label continues the segment before it.

    A row that cannot be read takes its utterance's phones away, which a note counts: an empty
    label after it would continue the wrong one.
    """
    names = table_columns(path)
    missing = {"utt", "start", "end"} - set(names)
    if missing:
        raise PrepareError(
            f"{path} has no column {', '.join(sorted(missing))}: its first line must name the "
            f"columns, with tabs between them (found: {', '.join(names)[:200]})"
        )
    phones: dict[str, list[Segment]] = {}
    bad: list[str] = []
    spoiled: set[str] = set()
    for row in table_rows(path):
        cells = row.cells
        try:
            start, end = float(cells["start"]), float(cells["end"])
        except (KeyError, ValueError):
            start, end = math.nan, math.nan
        if row.problem or not (math.isfinite(start) and math.isfinite(end)):
            bad.append(f"{row.where}: {row.problem or 'start and end must be seconds'}")
            spoiled.add(cells.get("utt", ""))
            continue
        segments = phones.setdefault(cells["utt"], [])
        label = (cells.get("phone") or cells.get("label") or "").strip()
        if not label and segments:
            label = segments[-1].label
        if label:
            segments.append(Segment(start, end, "_".join(label.split())))
    for utt in spoiled:
        phones.pop(utt, None)
    if not bad:
        return phones, []
    shown = "; ".join(bad[:_EXAMPLES])
    return phones, [
        f"{len(bad)} row(s) of {path.name} cannot be read, so {len(spoiled)} utterance(s) get no "
        f"phones: {shown}"
    ]


def _drop_ambiguous(utterances: Sequence[Utterance], phones: dict[str, list[Segment]]) -> list[str]:
    """Take away the phones of an utt that names several rows: nobody knows whose they are."""
    places: dict[str, int] = {}
    for item in utterances:
        places[item.utt] = places.get(item.utt, 0) + 1
    twice = sorted(utt for utt, count in places.items() if count > 1 and utt in phones)
    if not twice:
        return []
    for utt in twice:
        del phones[utt]
    return [
        f"{len(twice)} utt(s) stand twice in the table, such as {twice[0]!r}: {PHONES} cannot say "
        "which row it means, so these rows get no phones"
    ]
