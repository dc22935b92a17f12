"""Read the numbers that a fairseq training has logged, without fairseq.

Takes the ``hydra_train.log`` beside the checkpoints (``common.log_format: json``); pictures and
reports are drawn from what it returns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

LOG_NAME = "hydra_train.log"
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


def columns(entries: Iterable[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Pick the updates and values of one metric where it was logged."""
    pairs = [(entry["num_updates"], entry[name]) for entry in entries if name in entry]
    return [update for update, _ in pairs], [value for _, value in pairs]
