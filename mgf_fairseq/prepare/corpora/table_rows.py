"""Read the rows of a table as people have them: with tabs, commas or semicolons, or as JSONL.

Below the layouts of `mgf prepare` that are tables. A row that cannot be read is handed on with the
reason, so that one bad line neither stops the others nor goes unsaid.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .base import PrepareError, decoded, has_broken_text, read_tolerant_lines

TABLE_ENDINGS = (".tsv", ".csv", ".jsonl", ".jsonl.gz")
_DELIMITERS = "\t,;"
_LONGEST_HEADER = 1 << 20  # bytes
_MOST_LINES = 50  # of one quoted cell; beyond, a quote is taken for one that was never closed


class TableRow(NamedTuple):
    """One row: where it stands, and its cells by column, or what is wrong with it."""

    where: str  # `metadata.csv line 7`
    cells: dict[str, str]
    problem: str | None = None


class JsonLine(NamedTuple):
    """One line of a JSONL file: an object, or what is wrong with it."""

    where: str
    content: dict[str, Any]
    problem: str | None = None


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends as those of the tables that are read here."""
    return os.fspath(path).lower().endswith(TABLE_ENDINGS)


def table_columns(path: Path) -> list[str]:
    """The names of a table's columns; of JSONL, the keys of its first object."""
    if _is_json(path):
        first = next((line for line in json_lines(path) if not line.problem), None)
        return list(first.content) if first else []
    with open(path, "rb") as stream:  # a table may be large, and is only looked at
        first_line = decoded(stream.readline(_LONGEST_HEADER)).rstrip("\n")
    return _header(path, first_line)[1] if first_line else []


def table_rows(path: Path) -> Iterator[TableRow]:
    """All rows of a table. Raises PrepareError where the file as a whole cannot be one."""
    if _is_json(path):
        for line in json_lines(path):
            plain = {k: _as_text(v) for k, v in line.content.items() if not _is_nested(v)}
            yield TableRow(line.where, plain, line.problem)
        return
    lines = read_tolerant_lines(path)
    if not lines:
        raise PrepareError(f"{path} is empty: its first line must name the columns")
    delimiter, names = _header(path, lines[0])
    quoted = path.suffix.lower() != ".tsv" or '"' in lines[0]
    for number, cells in _records(lines, delimiter, quoted, len(names)):
        where = f"{path.name} line {number}"
        if cells is None:
            yield TableRow(where, {}, "its quotes do not match")
        elif len(cells) > len(names):
            problem = f"it has {len(cells)} cells for {len(names)} columns"
            yield TableRow(where, dict(zip(names, cells, strict=False)), problem)
        elif any(cell.strip() for cell in cells):
            cells += [""] * (len(names) - len(cells))
            yield TableRow(where, dict(zip(names, cells, strict=True)))


def json_lines(path: Path) -> Iterator[JsonLine]:
    """The objects of a JSONL file, packed by gzip or not."""
    for number, line in enumerate(_json_text(path), start=1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            yield JsonLine(where, {}, "it is not JSON")
            continue
        if isinstance(content, dict):
            yield JsonLine(where, content)
        else:
            yield JsonLine(where, {}, "it is not a JSON object")


def _is_json(path: Path) -> bool:
    return path.name.lower().endswith((".jsonl", ".jsonl.gz"))


def _json_text(path: Path) -> Iterator[str]:
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
        try:
            yield from map(decoded, stream)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise PrepareError(f"{path} cannot be unpacked ({error}): fetch it again") from None


def _is_nested(value: object) -> bool:
    return isinstance(value, dict | list)


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def _header(path: Path, line: str) -> tuple[str, list[str]]:
    """What separates the cells, and the names of the columns."""
    bare = "".join(line.split('"')[::2])  # what no quotes enclose
    delimiter = max(_DELIMITERS, key=bare.count)
    names = [name.strip() for name in _split(line, delimiter) or [line]]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise PrepareError(f"{path} has two columns called {twice[0][:80]!r}: rename one")
    if has_broken_text(line):
        raise PrepareError(f"{path} line 1 is not UTF-8 text: convert it, for instance with iconv")
    return delimiter, names


def _records(
    lines: list[str], delimiter: str, quoted: bool, columns: int
) -> Iterator[tuple[int, list[str] | None]]:
    """Number of its first line and cells of each record; None for one with an open quote."""
    position = 1
    while position < len(lines):
        line, number = lines[position], position + 1
        if not quoted or '"' not in line:
            position += 1
            yield number, line.split(delimiter)
            continue
        taken, cells = 1, _split(line, delimiter)
        while cells is None and taken < min(_MOST_LINES, len(lines) - position):
            taken += 1
            cells = _split("\n".join(lines[position : position + taken]), delimiter)
            if cells is not None and len(cells) != columns:
                cells = None
        position += taken if cells is not None else 1
        yield number, cells


def _split(record: str, delimiter: str) -> list[str] | None:
    """The cells of a record with quotes; None where a quote is open at its end."""
    limit = csv.field_size_limit(sys.maxsize)  # of the whole process: as it was, at once
    try:
        return next(csv.reader([record], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None
    finally:
        csv.field_size_limit(limit)
