"""Dataclasses to parsed JSON and back, field by field, and JSON text that a person can read.

Under every file format that is one dataclass; evaluation/result_files.py writes results with it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

ADDED = {"added": True}  # metadata of fields that files of earlier versions lack


def _key(item: dataclasses.Field[Any]) -> str:
    """The JSON name of a field: `key` of its metadata, or its own."""
    return str(item.metadata.get("key", item.name))


def encode(value: Any) -> Any:
    """Turn dataclasses, inside containers too, into what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(f): encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def dumps(value: Any, margin: str = "\n") -> str:
    """JSON with a line per entry, but a list of numbers on one line."""
    inner = f"{margin} "
    if isinstance(value, dict) and value:
        parts = [
            f"{json.dumps(k, ensure_ascii=False)}: {dumps(v, inner)}" for k, v in value.items()
        ]
        return f"{{{inner}{f',{inner}'.join(parts)}{margin}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list, str)) for item in value):
        parts = [dumps(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(parts)}{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def decode(value: Any, kind: Any) -> Any:
    """Build a value of type `kind` from parsed JSON; the opposite of `encode`.

    Takes dataclasses, lists, dictionaries, plain values and `X | None` of these.

    Raises:
        ValueError: a field is missing, unknown, or of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # only `X | None` occurs
        return None if value is None else decode(value, arguments[0])
    if origin is list:
        return [decode(item, arguments[0]) for item in _expect(value, list)]
    if origin is dict:
        return {name: decode(item, arguments[1]) for name, item in _expect(value, dict).items()}
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
    return kind(**{f.name: decode(value[k], hints[f.name]) for k, f in items.items() if k in value})


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{str(value)[:60]!r} is where {kind} should be")
    return value
