"""Labels in the names of files, found by a regular expression with named groups.

`mgf prepare --label-from`, after a layout has listed the utterances; also what labels may be
called.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .corpora.base import AUDIO_EXTENSIONS, Corpus, PrepareError, Utterance
from .label_files import LABEL_KINDS

FIELDS = ("speaker", "text", "emotion", "split", "fold")  # groups that say what a field holds
_TAKEN = (*LABEL_KINDS, *AUDIO_EXTENSIONS, "tsv", "csv", "txt", "json", "jsonl", "model")
_ENDING = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def check_ending(name: str) -> None:
    """Raise PrepareError for a name that cannot be the ending of label files of its own."""
    if not _ENDING.fullmatch(name):
        raise PrepareError(
            f"label {name[:60]!r} must be made of letters, digits, _ and -, since it ends the "
            "names of files: give it another one, as in --label NAME=COLUMN"
        )
    if name.lower() in _TAKEN:
        raise PrepareError(
            f"label {name!r} is the ending of other files: give it another one, as in --label "
            f"my_{name}={name}"
        )


def path_groups(pattern: str) -> tuple[str, ...]:
    """The groups of a pattern that become labels. Raises PrepareError where it names none."""
    groups = _compile(pattern).groupindex
    if not groups:
        raise PrepareError(
            f"--label-from {pattern!r} names no group: as in '(?P<digit>[0-9])_(?P<speaker>[a-z]+)'"
        )
    return tuple(name for name in groups if name not in FIELDS)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise PrepareError(f"--label-from {pattern!r} is no regular expression: {error}") from None


def label_by_path(corpus: Corpus, pattern: str) -> Corpus:
    """The corpus with what its paths say; utterances that the pattern does not fit are skipped."""
    compiled = _compile(pattern)
    kept = []
    skipped = list(corpus.skipped)
    for item in corpus.utterances:
        match = compiled.search(item.path)
        if match is None:
            skipped.append((item.path, "its path does not fit --label-from"))
        else:
            kept.append(_labeled(item, match))
    if not kept:
        raise PrepareError(
            f"--label-from {pattern!r} fits none of the paths, {skipped[-1][0]!r} for one"
        )
    return replace(corpus, utterances=kept, skipped=skipped)


def _labeled(item: Utterance, match: re.Match[str]) -> Utterance:
    """The utterance with the groups of a match, as fields or as labels."""
    groups = {name: (value or "").strip() for name, value in match.groupdict().items()}
    own = {name: groups.pop(name) or None for name in FIELDS if name in groups}
    return replace(
        item,
        speaker=own.get("speaker", item.speaker),
        text=own.get("text", item.text),
        emotion=own.get("emotion", item.emotion),
        split=own.get("split", item.split),
        fold=own.get("fold", item.fold),
        labels={**item.labels, **groups},
    )
