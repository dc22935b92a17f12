"""Decide which split each utterance belongs to: from a list, a table column, speakers or chance.

Called by `prepare` before recordings are cut; all segments of one recording stay together, unless
a list or table says otherwise.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..data.text import read_lines
from .corpora.base import PrepareError, Utterance

Test = Callable[[Utterance], str | None]  # why an utterance is skipped, or None
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
    """Raise PrepareError for a word that cannot name a split."""
    if not _can_name_split(split):
        raise PrepareError(f"{where}: {split[:80]!r} cannot name a split; use a word like train")


def _can_name_split(split: str) -> bool:
    """A split names files, so it is made of letters, digits, `_`, `-` and `.`."""
    letters = split.replace("_", "").replace("-", "").replace(".", "")
    return letters.isalnum() and len(split.encode("utf-8", "replace")) <= _LONGEST_NAME


def list_test(listed: dict[str, str], utterances: Sequence[Utterance]) -> Test:
    """Why a split list does not say where an utterance goes."""
    names = Counter(item.utt for item in utterances)

    def test(item: Utterance) -> str | None:
        if item.path in listed:
            return None
        if item.utt not in listed:
            return "not in the split list"
        if names[item.utt] > 1:
            return f"{item.utt} names {names[item.utt]} files: the split list must give their paths"
        return None

    return test


def split_test(utterances: Sequence[Utterance], split_by: str | None) -> Test:
    """Why an utterance has no place where others have a split, or a speaker to be split by."""
    if split_by is None and any(item.split for item in utterances):

        def without_split(item: Utterance) -> str | None:
            if not item.split:
                return "it has no split, which other rows have"
            fine = _can_name_split(item.split)
            return (
                None if fine else f"{item.split[:80]!r} cannot name a split: use a word like train"
            )

        return without_split
    if split_by == "speaker" and any(item.speaker for item in utterances):
        return lambda item: None if item.speaker else "it has no speaker, to be split by"
    return lambda item: None


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
