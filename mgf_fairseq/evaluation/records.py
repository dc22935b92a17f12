"""Dataclasses to JSON files and back, field by field, with the errors that a person can fix.

Under results.py, which says what the records hold.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from ..utils.atomic import replace_file

FORMAT = 1
ADDED = {"added": True}  # metadata of fields that files of earlier versions lack

Record = TypeVar("Record")


class ResultError(ValueError):
    """A result file cannot be read or written; the message holds the mend."""


def write_record(path: Path, record: Any) -> None:
    """Write one of the dataclasses of this file as JSON, in one step."""
    with replace_file(path) as stream:
        stream.write(_dump(_encode(record)) + "\n")


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file of this format back.

    Raises:
        ResultError: it is missing, not JSON, of another format version, or lacks a field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist: `mgf evaluate` writes it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ResultError(
            f"{path} cannot be read ({error}): remove it and evaluate again"
        ) from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise ResultError(
            f"{path} is of format {version!r} and this version of mgf reads {FORMAT}: remove the "
            "file and evaluate again, or use the version that wrote it"
        )
    try:
        return typing.cast(Record, _decode(content, kind))
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"{path}: {error}; remove the file and evaluate again") from None


def _key(item: dataclasses.Field[Any]) -> str:
    """The JSON name of a field."""
    return str(item.metadata.get("key", item.name))


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(f): _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): _encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return value


def _dump(value: Any, margin: str = "\n") -> str:
    """JSON with a line per entry, but a list of numbers on one line."""
    inner = f"{margin} "
    if isinstance(value, dict) and value:
        parts = [
            f"{json.dumps(k, ensure_ascii=False)}: {_dump(v, inner)}" for k, v in value.items()
        ]
        return f"{{{inner}{f',{inner}'.join(parts)}{margin}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list, str)) for item in value):
        parts = [_dump(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(parts)}{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _decode(value: Any, kind: Any) -> Any:
    """Build what `kind` says out of parsed JSON, field by field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # only `X | None` occurs
        return None if value is None else _decode(value, arguments[0])
    if origin is list:
        return [_decode(item, arguments[0]) for item in _expect(value, list)]
    if origin is dict:
        return {name: _decode(item, arguments[1]) for name, item in _expect(value, dict).items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_record(_expect(value, dict), kind)
    if kind is float:
        return float(_expect(value, (int, float)))
    return value if kind is Any else _expect(value, kind)


def _decode_record(value: dict[str, Any], kind: type[Any]) -> Any:
    hints = typing.get_type_hints(kind)
    items = {_key(item): item for item in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(items))
    missing = sorted(k for k, f in items.items() if k not in value and not f.metadata.get("added"))
    if unknown or missing:
        raise ValueError(f"{kind.__name__} lacks {missing} and does not know {unknown}")
    return kind(
        **{f.name: _decode(value[k], hints[f.name]) for k, f in items.items() if k in value}
    )


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{str(value)[:60]!r} stands where {kind} should")
    return value
