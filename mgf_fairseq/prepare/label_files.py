"""Write the label files that a corpus has material for, and their dictionaries.

The last step of `prepare`: one file per split and kind, one line per manifest row. A kind is one
entry of `LABEL_KINDS`, or one class label that --label or --label-from asks for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..data.label_format import UNLABELLED
from .corpora.base import Corpus, PrepareError, Utterance, text_problem
from .labels import (
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
    from .options import PrepareOptions
    from .rows import Row

Rows = dict[str, list["Row"]]
Lines = dict[str, list[str]]  # split -> one line per row
_EXAMPLES = 3


@dataclass(frozen=True)
class Work:
    """All that a kind of label is made of, and where it goes."""

    options: PrepareOptions
    corpus: Corpus
    rows: Rows
    folder: Path
    notes: list[str]

    @property
    def every(self) -> list[Row]:
        """The rows of all splits."""
        return [row for members in self.rows.values() for row in members]

    def text(self, row: Row) -> str:
        """The transcript of a row in the letter case asked for."""
        return normalize_text(row.utterance.text or "", self.options.case)

    def each(self, line: Callable[[Row], str]) -> Lines:
        """A line for each row of each split."""
        return {split: [line(row) for row in members] for split, members in self.rows.items()}


@dataclass(frozen=True)
class Made:
    """The lines of one kind; `counts` go into its dictionary, which None leaves out."""

    lines: Lines
    counts: Counter[str] | None


class Problem(NamedTuple):
    """Why a corpus cannot give a kind of label."""

    reason: str
    partly: bool  # some of the material is there, so it is news


@dataclass(frozen=True)
class LabelKind:
    """One kind of label: how it is made, and why it cannot be."""

    make: Callable[[Work], Made]
    problem: Callable[[Work], Problem | None]
    lacks: Callable[[Utterance], str | None] = lambda item: None  # what an utterance has not
    automatic: bool = True  # written without being asked for, where the material is there
    classes: bool = False  # one class per row, as fairseq's audio_classification reads it

    def anywhere(self, utterances: Sequence[Utterance]) -> bool:
        """Whether any utterance has what this kind is made of."""
        return any(self.lacks(item) is None for item in utterances)


def write_labels(work: Work) -> list[str]:
    """Write every kind asked for, or every automatic kind that the corpus allows.

    Returns the kinds written and adds remarks to the notes. Raises PrepareError for a kind asked
    for that the corpus lacks, LabelError where its labels cannot be made.
    """
    options = work.options
    written = []
    for name, kind in {**LABEL_KINDS, **further_kinds(options)}.items():
        asked = name in (options.labels or ()) or name not in LABEL_KINDS
        if not (asked or (options.labels is None and kind.automatic)):
            continue
        problem = kind.problem(work)
        if problem and asked:
            raise PrepareError(f"labels {name}: {problem.reason}")
        if problem:
            work.notes.extend([f"no .{name}: {problem.reason}"] if problem.partly else [])
            continue
        try:
            _write_kind(work, name, kind)
        except LabelError as error:
            if asked:
                raise
            work.notes.append(f"no .{name}: {error}")
            continue
        written.append(name)
    return written


def _write_kind(work: Work, name: str, kind: LabelKind) -> None:
    """Label lines per split, and the dictionary, of the train split alone."""
    made = kind.make(work)
    # A table without a train split (a test set, say) brings its dictionary from elsewhere.
    if made.counts is not None and "train" not in made.lines:
        work.notes.append(f"no train split, so dict.{name}.txt is not written")
    elif made.counts is not None:
        write_dictionary(work.folder / f"dict.{name}.txt", made.counts)
        if kind.classes:
            work.notes.extend(_unseen(name, made.lines))
    for split, lines in made.lines.items():
        write_lines(work.folder / f"{split}.{name}", lines)


def further_kinds(options: PrepareOptions) -> dict[str, LabelKind]:
    """The class labels of --label and --label-from, by their endings."""

    def kind(ending: str) -> LabelKind:
        return _class_kind(ending, lambda item: item.labels.get(ending))

    return {ending: kind(ending) for ending in options.further_labels}


# ---- text


def _text_problem(work: Work) -> Problem | None:
    if not all(row.whole for row in work.every):
        reason = "a transcript cannot be cut with its recording: leave out --segment-seconds"
        return Problem(reason, any(row.utterance.text for row in work.every))
    advice = "; --labels ltr skips these"
    return _missing(work, lambda item: item.text, "no transcript for every row", advice)


def _lacks_text(item: Utterance) -> str | None:
    return "no transcript" if item.text is None else text_problem(item.text)


def _missing(
    work: Work, of: Callable[[Utterance], str | None], reason: str, advice: str = ""
) -> Problem | None:
    """The problem with those rows that lack something, or None."""
    lacking = [row.entry for row in work.every if not of(row.utterance)]
    if not lacking:
        return None
    total = len(work.every)
    if len(lacking) == total:
        return Problem(reason, False)
    shown = ", ".join(lacking[:_EXAMPLES])
    return Problem(f"{reason}: {len(lacking)} of {total} have none ({shown}){advice}", True)


def _letters(work: Work) -> Made:
    lines = work.each(lambda row: to_letters(work.text(row)))
    return Made(lines, count_symbols(lines.get("train", [])))


def _words(work: Work) -> Made:
    lines = work.each(work.text)
    return Made(lines, count_symbols(lines.get("train", [])))


def _subwords(work: Work) -> Made:
    """Subwords of a model that is trained on the train split, which its dictionary lists."""
    texts = [work.text(row) for row in work.rows.get("train", [])]
    model = SubwordModel(texts, work.options.spm_vocab_size)
    lines = work.each(lambda row: model.encode(work.text(row)))
    model.save(work.folder / "spm.model")
    counts = count_symbols(lines["train"])
    known = Counter({piece: counts[piece] for piece in model.pieces()})
    unknown = sorted(set(counts) - set(known))
    if unknown:
        shown = ", ".join(map(repr, unknown[:_EXAMPLES]))
        work.notes.append(f"spm: {len(unknown)} symbol(s) of train became no pieces: {shown}")
    return Made(lines, known)


# ---- phones


def _phone_problem(work: Work) -> Problem | None:
    if work.corpus.phones:
        return None
    return Problem("no phones.tsv beside the table that gives any row its phones", False)


def _phones(work: Work) -> Made:
    """Frame labels; a row without segments has `UNLABELLED` in every frame."""
    phones, rate = work.corpus.phones, work.options.sample_rate

    def label(row: Row) -> str:
        segments = phones.get(row.utterance.utt, [])
        return " ".join(frame_labels(segments, row.num_samples, rate, row.offset))

    bare = sum(row.utterance.utt not in phones for row in work.every)
    if bare:
        work.notes.append(
            f"{bare} row(s) have no phone segments: {UNLABELLED} in every frame of .phn"
        )
    lines = work.each(label)
    counts = count_symbols(lines.get("train", []))
    del counts[UNLABELLED]
    return Made(lines, counts)


# ---- classes


def _class_kind(
    what: str, of: Callable[[Utterance], str | None], advice: str = "", dictionary: bool = True
) -> LabelKind:
    """One class per row."""

    def make(work: Work) -> Made:
        lines = work.each(lambda row: class_label(of(row.utterance) or ""))
        work.notes.extend(_merged(work, of))
        counts = count_symbols(lines.get("train", [])) if dictionary else None
        return Made(lines, counts)

    return LabelKind(
        make,
        lambda work: _missing(work, of, f"no {what} for every row{advice}"),
        lambda item: None if of(item) else f"it has no {what}",
        classes=dictionary,
    )


def _merged(work: Work, of: Callable[[Utterance], str | None]) -> list[str]:
    """Classes that differ in white space alone, which become one."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in work.every:
        name = of(row.utterance) or ""
        spellings[class_label(name)].add(name)
    return [
        f"{' and '.join(map(repr, sorted(names)))} become one class, {label}"
        for label, names in sorted(spellings.items())
        if len(names) > 1
    ]


def _unseen(name: str, lines: Lines) -> list[str]:
    """Classes that a split has and train has not: classification cannot be scored there."""
    known = set(lines["train"])
    notes = []
    for split, split_lines in lines.items():
        unseen = len(set(split_lines) - known)
        if unseen:
            notes.append(
                f"{split}.{name} holds {unseen} class(es) that train lacks: fairseq's "
                f"audio_classification cannot read {split} with labels={name}"
            )
    return notes


LABEL_KINDS: dict[str, LabelKind] = {
    "ltr": LabelKind(_letters, _text_problem, _lacks_text),
    "wrd": LabelKind(_words, _text_problem, _lacks_text),
    "spm": LabelKind(_subwords, _text_problem, _lacks_text, automatic=False),
    "phn": LabelKind(_phones, _phone_problem),
    "spk": _class_kind("speaker", lambda item: item.speaker, " (see --speaker-level)"),
    "emo": _class_kind("emotion", lambda item: item.emotion),
    # The groups of cross-validation are not classes to be told apart: no dictionary.
    "fold": _class_kind("fold", lambda item: item.fold, dictionary=False),
}
