"""Read the numbers that a fairseq training has logged, without fairseq.

Takes the ``hydra_train.log`` beside the checkpoints (``common.log_format: json``), or the
``training.jsonl`` of a result folder, which keeps its numbers; pictures are drawn from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..utils.atomic import replace_file

LOG_NAME = "hydra_train.log"
JSONL_NAME = "training.jsonl"
_LINE = re.compile(r"\[(train_inner|train|valid)\]\[INFO\] - (\{.*\})\s*$")


def parse_line(line: str) -> tuple[str, dict[str, float]] | None:
    """Take the kind (train_inner, train, valid) and the numbers of a line; None for other lines.

    The prefixes ``train_`` and ``valid_`` that fairseq puts before names are left out.
    """
    match = _LINE.search(line)
    if match is None:
        return None
    try:
        values = json.loads(match[2])
    except json.JSONDecodeError:  # a line that another process wrote into
        return None
    prefix = "" if match[1] == "train_inner" else f"{match[1]}_"
    numbers: dict[str, float] = {}
    for name, value in values.items():
        try:
            numbers[name.removeprefix(prefix)] = float(value)
        except (TypeError, ValueError):
            continue
    return match[1], numbers


def read_log(path: Path, kind: str) -> list[dict[str, float]]:
    """Read all entries of one kind in order of updates; a resumed run's repeats count once.

    Raises:
        FileNotFoundError: there is no such log.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        entries = [entry for entry in map(parse_line, lines) if entry and entry[0] == kind]
    by_update = {int(values.get("num_updates", 0)): values for _, values in entries}
    return [by_update[update] for update in sorted(by_update)]


def write_jsonl(path: Path, log: Path, kinds: Sequence[str] = ("train_inner", "valid")) -> None:
    """Keep a log's numbers beside other results: one JSON object per entry, `kind` says which.

    Raises:
        FileNotFoundError: there is no such log.
    """
    entries = [(kind, entry) for kind in kinds for entry in read_log(log, kind)]
    with replace_file(path) as stream:
        for kind, entry in entries:
            stream.write(json.dumps({"kind": kind, **entry}) + "\n")


def read_jsonl(path: Path, kind: str) -> list[dict[str, float]]:
    """Read the entries of one kind that `write_jsonl` wrote, in order of updates.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not an object of numbers; the message names it.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            values = json.loads(line)
            found = values.pop("kind")
            entry = {str(name): float(value) for name, value in values.items()}
            if found == kind and entry["num_updates"] >= 0:
                entries.append(entry)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path}, line {number} is no entry of a training log ({error}): evaluate again"
            ) from None
    return sorted(entries, key=lambda entry: entry["num_updates"])


def columns(entries: Iterable[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Pick the updates and values of one metric where it was logged."""
    pairs = [(entry["num_updates"], entry[name]) for entry in entries if name in entry]
    return [update for update, _ in pairs], [value for _, value in pairs]
