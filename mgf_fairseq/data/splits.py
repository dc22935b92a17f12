"""Decide which split each utterance belongs to: from a list, a table column, speakers or chance.

Called by `prepare` before recordings are cut; all segments of one recording stay together, unless
a list or table says otherwise.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .corpora import PrepareError, Utterance, read_lines

_LONGEST_NAME = 100  # bytes of a split's name, to which file names add a little


def read_split_list(path: Path | None) -> dict[str, str]:
    """Read `utt-or-path split` lines (the split is the last word); {} where there is no list.

    Raises PrepareError for a line of one word, an entry in two splits, or a split name that cannot
    name a file.
    """
    splits: dict[str, str] = {}
    if path is None:
        return splits
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        name, _, split = line.strip().replace("\t", " ").rpartition(" ")
        name = name.strip()
        if not name:
            raise PrepareError(f"{path} line {number} ({line[:80]!r}): expected `utterance split`")
        check_split_name(split, f"{path} line {number}")
        if splits.setdefault(name, split) != split:
            raise PrepareError(
                f"{path} line {number}: {name[:80]} is in two splits; remove one line"
            )
    if not splits:
        raise PrepareError(f"{path} is empty: expected lines like `utterance train`")
    return splits


def check_split_name(split: str, where: str) -> None:
    """A split names files, so it is made of letters, digits, `_`, `-` and `.`."""
    letters = split.replace("_", "").replace("-", "").replace(".", "")
    if not letters.isalnum() or len(split.encode()) > _LONGEST_NAME:
        raise PrepareError(f"{where}: {split[:80]!r} cannot name a split; use a word like train")


def assign_splits(
    utterances: Sequence[Utterance],
    split_by: str | None,
    listed: dict[str, str],
    shares: dict[str, float],
    seed: int,
    valid_from_train: bool = False,
) -> list[str]:
    """The split of each utterance: the list's, else the corpus's, else drawn by `shares`.

    With `valid_from_train` the corpus's own splits lack valid, and its share is drawn from train.
    The draw depends on the set of utterances and on the seed, not on the machine. A share above 0
    gets at least one utterance (or speaker). Raises PrepareError where that leaves no train split.
    """
    if listed:
        splits = [listed.get(item.path) or listed[item.utt] for item in utterances]
    elif split_by is None and all(item.split for item in utterances):
        splits = [item.split or "" for item in utterances]
        for split in sorted(set(splits)):
            check_split_name(split, "split column")
        if valid_from_train and shares["valid"] > 0:
            train = Counter(item.path for item in utterances if item.split == "train")
            drawn = _draw(list(train.items()), {"valid": shares["valid"]}, seed)
            splits = [drawn.get(item.path, item.split or "") for item in utterances]
    elif split_by == "speaker":
        splits = _by_speaker(utterances, shares, seed)
    else:
        recordings = Counter(item.path for item in utterances)
        drawn = _draw(list(recordings.items()), shares, seed)
        splits = [drawn[item.path] for item in utterances]
    return splits


def _by_speaker(utterances: Sequence[Utterance], shares: dict[str, float], seed: int) -> list[str]:
    counts: dict[str, int] = {}
    for item in utterances:
        if not item.speaker:
            raise PrepareError(
                f"{item.path} has no speaker, so it cannot be split by speaker: choose the path "
                "part that names the speaker with --speaker-level, or --split-by fraction"
            )
        counts[item.speaker] = counts.get(item.speaker, 0) + 1
    needed = 1 + sum(share > 0 for share in shares.values())
    if len(counts) < needed:
        raise PrepareError(
            f"{len(counts)} speaker(s) cannot fill {needed} splits: use --split-by fraction, or "
            "check --speaker-level"
        )
    drawn = _draw(sorted(counts.items()), shares, seed)
    return [drawn[item.speaker or ""] for item in utterances]


def _draw(groups: list[tuple[str, int]], shares: dict[str, float], seed: int) -> dict[str, str]:
    """Shuffle groups of known size and fill each share up to its size; the rest is train."""
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    total = sum(size for _, size in order)
    splits: dict[str, str] = {}
    position = 0
    for split, share in shares.items():
        target, filled = share * total, 0
        while position < len(order) and share > 0:
            name, size = order[position]
            if filled and filled + size / 2 > target:
                break
            splits[name] = split
            filled += size
            position += 1
    if position == len(order) and sum(shares.values()) < 1:
        raise PrepareError(
            f"{len(order)} utterance(s) or speaker(s) are too few to split: nothing is left for "
            "train; use --valid-percent 0"
        )
    splits.update((name, "train") for name, _ in order[position:])
    return splits
