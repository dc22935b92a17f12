"""Write the label files that a corpus has material for, and their dictionaries.

The last step of `prepare`: one file per split and kind, one line per manifest row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .corpora import Corpus, PrepareError
from .labels import (
    UNLABELLED,
    LabelError,
    SubwordModel,
    class_label,
    count_symbols,
    frame_labels,
    normalize_text,
    to_letters,
    write_dictionary,
    write_lines,
)

if TYPE_CHECKING:
    from .prepare import PrepareOptions, Row

Rows = dict[str, list["Row"]]


@dataclass(frozen=True)
class LabelKind:
    """One kind of label: what it needs of a corpus, and what to say where that is missing."""

    needs: str  # "text", "phones", or the name of a field of Utterance
    missing: str
    automatic: bool = True  # written without being asked for, where the material is there


_TEXT = "no transcript for every row"
LABEL_KINDS: dict[str, LabelKind] = {
    "ltr": LabelKind("text", _TEXT),
    "wrd": LabelKind("text", _TEXT),
    "spm": LabelKind("text", _TEXT, automatic=False),
    "phn": LabelKind("phones", "no phones.tsv beside the table"),
    "spk": LabelKind("speaker", "no speaker for every row (see --speaker-level)"),
    "emo": LabelKind("emotion", "no emotion column filled in every row of the table"),
    "fold": LabelKind("fold", "no fold or session column filled in every row of the table"),
}
_CLASS_KINDS = ("spk", "emo")  # fairseq's audio_classification: closed sets, no special symbols


def write_labels(
    options: PrepareOptions, corpus: Corpus, rows: Rows, notes: list[str]
) -> list[str]:
    """Write every kind asked for, or every automatic kind that the corpus allows.

    Returns the kinds written and adds remarks to `notes`. Raises PrepareError for a kind asked for
    that the corpus lacks, LabelError where its labels cannot be made.
    """
    written = []
    for kind, about in LABEL_KINDS.items():
        asked = options.labels is not None and kind in options.labels
        if not (asked or (options.labels is None and about.automatic)):
            _note_stale(options, kind, rows, notes)
            continue
        problem = _problem(about, corpus, rows)
        if problem and asked:
            raise PrepareError(f"--labels {kind}: {problem}")
        if problem:
            if _partly_there(about, rows):
                notes.append(f"no .{kind}: {problem}; --labels {kind} leaves out files without")
            _note_stale(options, kind, rows, notes)
            continue
        lines = _make_lines(kind, options, corpus, rows, notes)
        for split, split_lines in lines.items():
            write_lines(options.dest / f"{split}.{kind}", split_lines)
        written.append(kind)
    return written


def _note_stale(options: PrepareOptions, kind: str, rows: Rows, notes: list[str]) -> None:
    """Tell of an earlier run's labels, which may belong to other manifest lines."""
    stale = [f"{split}.{kind}" for split in rows if (options.dest / f"{split}.{kind}").exists()]
    if stale:
        notes.append(f"{', '.join(stale)} of an earlier run may not fit any more: remove them")


def _partly_there(about: LabelKind, rows: Rows) -> bool:
    """Whether some rows, but not all, have what this kind needs."""
    every = (row.utterance for members in rows.values() for row in members)
    return about.needs != "phones" and any(getattr(item, about.needs) for item in every)


def _problem(about: LabelKind, corpus: Corpus, rows: Rows) -> str | None:
    """Why the corpus cannot give this kind, or None."""
    every = [row for members in rows.values() for row in members]
    if about.needs == "phones":
        return None if corpus.phones else about.missing
    if about.needs == "text" and not all(row.whole for row in every):
        return "a transcript cannot be cut with its recording: leave out --segment-seconds"
    complete = all(getattr(row.utterance, about.needs) for row in every)
    return None if complete else about.missing


def _make_lines(
    kind: str, options: PrepareOptions, corpus: Corpus, rows: Rows, notes: list[str]
) -> dict[str, list[str]]:
    """Label lines per split; writes the dictionary (train split only) and the subword model."""
    if kind == "fold":  # the groups of cross-validation are not classes: no dictionary
        return _map_rows(rows, lambda row: class_label(row.utterance.fold or ""))
    if kind == "phn":
        lines = _phone_lines(options, corpus, rows, notes)
    elif kind in _CLASS_KINDS:
        lines = _map_rows(rows, lambda row: class_label(getattr(row.utterance, _field(kind))))
    else:
        lines = _text_lines(kind, options, rows)
    # A table without a train split (a test set, say) brings its dictionary from elsewhere.
    train = lines.get("train")
    if train is None:
        notes.append(f"no train split, so dict.{kind}.txt is not written")
        return lines
    counts = count_symbols(train)
    if kind == "phn":
        del counts[UNLABELLED]
    if kind == "spm":
        model = SubwordModel([_text(row, options) for row in rows["train"]], options.spm_vocab_size)
        lines = _map_rows(rows, lambda row: model.encode(_text(row, options)))
        model.save(options.dest / "spm.model")
        counts = count_symbols(lines["train"])
        counts.update(dict.fromkeys(model.pieces(), 0))
    write_dictionary(options.dest / f"dict.{kind}.txt", counts)
    if kind in _CLASS_KINDS:
        notes.extend(_unseen(kind, lines))
    return lines


def _field(kind: str) -> str:
    return LABEL_KINDS[kind].needs


def _map_rows(rows: Rows, label: Callable[[Row], str]) -> dict[str, list[str]]:
    return {split: [label(row) for row in members] for split, members in rows.items()}


def _text(row: Row, options: PrepareOptions) -> str:
    try:
        return normalize_text(row.utterance.text or "", options.case)
    except LabelError as error:
        raise LabelError(f"{row.utterance.path}: {error}") from None


def _text_lines(kind: str, options: PrepareOptions, rows: Rows) -> dict[str, list[str]]:
    if kind == "ltr":
        return _map_rows(rows, lambda row: to_letters(_text(row, options)))
    return _map_rows(rows, lambda row: _text(row, options))


def _phone_lines(
    options: PrepareOptions, corpus: Corpus, rows: Rows, notes: list[str]
) -> dict[str, list[str]]:
    """Frame labels; a row without segments has `UNLABELLED` in every frame."""

    def label(row: Row) -> str:
        segments = corpus.phones.get(row.utterance.utt, [])
        return " ".join(frame_labels(segments, row.num_samples, options.sample_rate, row.offset))

    every = [row for members in rows.values() for row in members]
    bare = sum(row.utterance.utt not in corpus.phones for row in every)
    if bare:
        notes.append(f"{bare} row(s) have no phone segments: {UNLABELLED} in every frame of .phn")
    return _map_rows(rows, label)


def _unseen(kind: str, lines: dict[str, list[str]]) -> list[str]:
    """Classes that a split has and train has not: classification cannot be scored there."""
    known = set(lines["train"])
    notes = []
    for split, split_lines in lines.items():
        unseen = len(set(split_lines) - known)
        if unseen:
            notes.append(
                f"{split}.{kind} holds {unseen} {_field(kind)}(s) that train lacks: fairseq's "
                f"audio_classification cannot read {split} with labels={kind}"
            )
    return notes
