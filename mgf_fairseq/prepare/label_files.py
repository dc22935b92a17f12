"""Write the label files that a corpus has material for, and their dictionaries.

`prepare` calls it before it writes the manifests: one file per split and kind, one line per
manifest row. A kind is one entry of `LABEL_KINDS`, or one class label that --label or --label-from
asks for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..data.label_format import UNLABELED
from ..data.limits import MUCH
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
    """What labels are made from, and where they are written."""

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


@dataclass(frozen=True)
class Maker:
    """Makes the label line of a row, and the dictionary of what train's lines hold."""

    line: Callable[[Row], str]
    # Counts of the symbols in train -> those in the dictionary; None: there is no dictionary.
    listed: Callable[[Counter[str]], Counter[str]] | None = Counter


class Problem(NamedTuple):
    """Why a corpus cannot give a kind of label."""

    reason: str
    partly: bool  # some rows have the material, so it is reported


@dataclass(frozen=True)
class LabelKind:
    """One kind of label: the line of a row, its dictionary, and why it cannot be made."""

    maker: Callable[[Work], Maker]
    problem: Callable[[Work], Problem | None]
    lacks: Callable[[Utterance], str | None] = lambda item: None  # what an utterance does not have
    automatic: bool = True  # written without being asked for, if the material is there
    text: bool = False  # made of transcripts, of which single ones may be unusable
    classes: bool = False  # one class per row, as fairseq's audio_classification reads it

    def drops(self, utterances: Sequence[Utterance]) -> bool:
        """Whether rows without a transcript are skipped although no label was asked for.

        Not if more than a few have none: then their audio is worth more than the labels.
        """
        none = sum(item.text is None for item in utterances)
        few = none <= MUCH * len(utterances)
        return self.text and self.automatic and few and self.anywhere(utterances)

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
    maker = kind.maker(work)
    lines = {split: [maker.line(row) for row in rows] for split, rows in work.rows.items()}
    # A table without a train split, such as a test set, brings its dictionary from elsewhere.
    if maker.listed is not None and "train" not in lines:
        work.notes.append(f"no train split, so dict.{name}.txt is not written")
    elif maker.listed is not None:
        symbols = maker.listed(count_symbols(lines["train"]))
        write_dictionary(work.folder / f"dict.{name}.txt", symbols)
        if kind.classes:
            work.notes.extend(_unseen(name, lines))
    for split, split_lines in lines.items():
        write_lines(work.folder / f"{split}.{name}", split_lines)


def further_kinds(options: PrepareOptions) -> dict[str, LabelKind]:
    """The class labels of --label and --label-from, by their endings."""

    def kind(ending: str) -> LabelKind:
        return _class_kind(ending, lambda item: item.labels.get(ending))

    return {ending: kind(ending) for ending in options.further_labels}


# ---- text


def _text_problem(work: Work) -> Problem | None:
    if not all(row.whole for row in work.every):
        reason = "a transcript cannot be cut with its recording: remove --segment-seconds"
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


def _letters(work: Work) -> Maker:
    return Maker(lambda row: to_letters(work.text(row)))


def _words(work: Work) -> Maker:
    return Maker(work.text)


def _subwords(work: Work) -> Maker:
    """Subwords of a model that is trained on the train split; the dictionary lists its pieces."""
    texts = [work.text(row) for row in work.rows.get("train", [])]
    model = SubwordModel(texts, work.options.spm_vocab_size)
    model.save(work.folder / "spm.model")

    def listed(counts: Counter[str]) -> Counter[str]:
        known = Counter({piece: counts[piece] for piece in model.pieces()})
        unknown = sorted(set(counts) - set(known))
        if unknown:
            shown = ", ".join(map(repr, unknown[:_EXAMPLES]))
            work.notes.append(f"spm: {len(unknown)} symbol(s) of train became no pieces: {shown}")
        return known

    return Maker(lambda row: model.encode(work.text(row)), listed)


# ---- phones


def _phone_problem(work: Work) -> Problem | None:
    if work.corpus.phones:
        return None
    return Problem("no phones.tsv beside the table that gives any row its phones", False)


def _phones(work: Work) -> Maker:
    """Frame labels; a row without segments has `UNLABELED` in every frame."""
    phones, rate = work.corpus.phones, work.options.sample_rate
    bare = sum(row.utterance.utt not in phones for row in work.every)
    if bare:
        work.notes.append(
            f"{bare} row(s) have no phone segments: {UNLABELED} in every frame of .phn"
        )

    def line(row: Row) -> str:
        segments = phones.get(row.utterance.utt, [])
        return " ".join(frame_labels(segments, row.num_samples, rate, row.offset))

    def listed(counts: Counter[str]) -> Counter[str]:
        return Counter({label: n for label, n in counts.items() if label != UNLABELED})

    return Maker(line, listed)


# ---- classes


def _class_kind(
    what: str, of: Callable[[Utterance], str | None], advice: str = "", dictionary: bool = True
) -> LabelKind:
    """One class per row."""

    def maker(work: Work) -> Maker:
        work.notes.extend(_merged(work, of))
        listed = Counter if dictionary else None
        return Maker(lambda row: class_label(of(row.utterance) or ""), listed)

    return LabelKind(
        maker,
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
    "ltr": LabelKind(_letters, _text_problem, _lacks_text, text=True),
    "wrd": LabelKind(_words, _text_problem, _lacks_text, text=True),
    "spm": LabelKind(_subwords, _text_problem, _lacks_text, automatic=False, text=True),
    "phn": LabelKind(_phones, _phone_problem),
    "spk": _class_kind("speaker", lambda item: item.speaker, " (see --speaker-level)"),
    "emo": _class_kind("emotion", lambda item: item.emotion),
    # The groups of cross-validation are not classes to predict: no dictionary.
    "fold": _class_kind("fold", lambda item: item.fold, dictionary=False),
}
