"""Find what is wrong with the label files and dictionaries that lie beside a manifest.

The text half of `mgf check`: manifests.py applies these rules to the labels of each manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..data.entries import ManifestError, is_count
from ..data.label_format import LABEL_FORMS, OVERWRITE, PLAIN, UNLABELED, LabelForm
from ..data.manifest import read_manifest
from ..data.prepared import Record, file_digest, read_record, rows_digest
from ..data.text import TextError, read_lines
from ..encoder.geometry import STANDARD_GRID

_EXAMPLES = 3
_UNK_SHARE = 0.01  # below it, unknown symbols are rare characters; above, a wrong dictionary


@dataclass(frozen=True)
class LabelProblem:
    """The result of one rule on one label file."""

    file: str
    rule: str
    fatal: bool
    count: int
    fix: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelFile:
    """A label file with everything that the rules need."""

    name: str
    ending: str
    rows: list[str]
    num_samples: Sequence[int]  # of each manifest line, at 16 kHz
    dictionary: dict[str, int] | None  # symbol -> count; None: there is no dictionary file
    malformed: list[int]  # dictionary lines that are not `symbol count`
    classes: bool = False  # one class per row, by the record of mgf prepare
    other_rows: bool = False  # as mgf prepare wrote it, while the manifest has other rows now

    @property
    def dictionary_name(self) -> str:
        """The file that fairseq looks for."""
        return f"dict.{self.ending}.txt"

    @property
    def form(self) -> LabelForm:
        """What a line is made of."""
        return LABEL_FORMS.get(self.ending, PLAIN)

    def in_lines(self, rule: str, lines: Sequence[str], fix: str) -> Iterator[LabelProblem]:
        """One fatal problem with the first of these lines as examples; none without lines."""
        if lines:
            examples = tuple(lines[:_EXAMPLES])
            yield LabelProblem(self.name, rule, True, len(lines), fix, examples)


LabelRule = Callable[[LabelFile], Iterator[LabelProblem]]
LABEL_RULES: list[LabelRule] = []


def label_rule(test: LabelRule) -> LabelRule:
    """Register a rule on a label file."""
    LABEL_RULES.append(test)
    return test


@label_rule
def _label_count(labels: LabelFile) -> Iterator[LabelProblem]:
    lines = len(labels.num_samples)
    if len(labels.rows) != lines:
        yield LabelProblem(
            labels.name,
            "label count",
            True,
            abs(len(labels.rows) - lines),
            f"{len(labels.rows)} labels for {lines} manifest lines; write both again with "
            "mgf prepare, in one go",
        )


@label_rule
def _label_of_other_rows(labels: LabelFile) -> Iterator[LabelProblem]:
    if labels.other_rows:
        yield LabelProblem(
            labels.name,
            "label of other rows",
            True,
            len(labels.rows),
            "the manifest was replaced after mgf prepare had written these labels, so they are of "
            "other utterances; write both again with mgf prepare, in one go",
        )


@label_rule
def _class_of_several_words(labels: LabelFile) -> Iterator[LabelProblem]:
    if labels.classes:
        several = [f"line {i + 1}" for i, row in enumerate(labels.rows) if len(row.split()) > 1]
        fix = "each line must be one class, a word without spaces"
        yield from labels.in_lines("class format", several, fix)


@label_rule
def _single_class(labels: LabelFile) -> Iterator[LabelProblem]:
    if labels.classes and labels.name.startswith("train") and len(set(labels.rows)) == 1:
        fix = "all rows have one class, so nothing can be learned; choose another label or column"
        yield LabelProblem(labels.name, "single class", False, 1, fix, (labels.rows[0],))


@label_rule
def _label_empty(labels: LabelFile) -> Iterator[LabelProblem]:
    empty = [f"line {i + 1}" for i, row in enumerate(labels.rows) if not row.strip(" |\t")]
    fix = "write the transcript, or take the file out and run mgf prepare again"
    yield from labels.in_lines("label empty", empty, fix)


@label_rule
def _dictionary_missing(labels: LabelFile) -> Iterator[LabelProblem]:
    if labels.dictionary is None and labels.form.ctc:
        yield LabelProblem(
            labels.name,
            "dictionary missing",
            True,
            1,
            f"fine-tuning needs {labels.dictionary_name}; mgf prepare writes it",
        )


@label_rule
def _dictionary_empty(labels: LabelFile) -> Iterator[LabelProblem]:
    if labels.malformed:
        yield LabelProblem(
            labels.dictionary_name,
            "dictionary format",
            True,
            len(labels.malformed),
            "each line must be `symbol count`; mgf prepare writes it so",
            tuple(f"line {i + 1}" for i in labels.malformed[:_EXAMPLES]),
        )
    if labels.dictionary is not None and not labels.dictionary:
        yield LabelProblem(
            labels.dictionary_name,
            "dictionary empty",
            True,
            1,
            "every label would become <unk>, without a word from fairseq; run mgf prepare again",
        )


@label_rule
def _unknown_symbols(labels: LabelFile) -> Iterator[LabelProblem]:
    if not labels.dictionary:
        return
    symbols = Counter(symbol for row in labels.rows for symbol in row.split())
    if labels.form.frames:
        del symbols[UNLABELED]
    unknown = {s: n for s, n in symbols.items() if s not in labels.dictionary}
    total, missed = sum(symbols.values()), sum(unknown.values())
    if not missed:
        return
    most = sorted(unknown.items(), key=lambda item: -item[1])[:_EXAMPLES]
    shown = tuple(f"{symbol!r} {count} times" for symbol, count in most)
    if missed == total:
        rule, fix = "UNK only", "no label symbol is in the dictionary: it belongs to other labels"
    else:
        share = f"{100 * missed / total:.2f} % of symbols become <unk>"
        rule, fix = "unknown symbols", f"{share}; normalize the text or extend the dictionary"
    fatal = missed > _UNK_SHARE * total
    if labels.form == PLAIN and not labels.name.startswith("train"):
        # Words and speakers that training lacks are what held-out splits are for.
        fatal, fix = False, "expected in a split of other speakers or sentences; a task that "
        fix += f"classifies .{labels.ending} labels cannot use this split"
    yield LabelProblem(labels.name, rule, fatal, missed, fix, shown)


@label_rule
def _ctc_infeasible(labels: LabelFile) -> Iterator[LabelProblem]:
    if not labels.form.ctc or len(labels.rows) != len(labels.num_samples):
        return
    hits = []
    for i, (row, num_samples) in enumerate(zip(labels.rows, labels.num_samples, strict=True)):
        needed, frames = ctc_frames_needed(row.split()), STANDARD_GRID.num_frames(num_samples)
        if needed > frames:
            hits.append(f"line {i + 1}: needs {needed} frames, has {frames}")
    fix = "label too long for its audio: check that they belong together, or use larger units"
    yield from labels.in_lines("CTC infeasible", hits, fix)


@label_rule
def _frame_labels(labels: LabelFile) -> Iterator[LabelProblem]:
    if not labels.form.frames or len(labels.rows) != len(labels.num_samples):
        return
    hits = []
    for i, (row, num_samples) in enumerate(zip(labels.rows, labels.num_samples, strict=True)):
        given, frames = len(row.split()), STANDARD_GRID.num_frames(num_samples)
        if given != frames:
            hits.append(f"line {i + 1}: {given} labels for {frames} frames")
    fix = "the audio or the manifest changed since: run mgf prepare again"
    yield from labels.in_lines("frame label count", hits, fix)


def ctc_frames_needed(symbols: Sequence[str]) -> int:
    """Count the fewest frames that CTC can spell a label in: a blank splits each repeat."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def read_dictionary(path: Path) -> tuple[dict[str, int], list[int]]:
    """Read fairseq's `symbol count` lines; returns the symbols and the malformed line numbers."""
    symbols: dict[str, int] = {}
    malformed = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for i, line in enumerate(lines):
            symbol, _, count = line.rstrip().removesuffix(OVERWRITE).rpartition(" ")
            if symbol and is_count(count):
                symbols[symbol] = int(count)
            else:
                malformed.append(i)
    return symbols, malformed


def check_labels(manifest: Path, num_samples: Sequence[int]) -> list[LabelProblem]:
    """Apply every label rule to the files that share the manifest's name.

    Args:
        manifest: the .tsv; `train.ltr` beside `train.tsv` is a label file.
        num_samples: of each manifest line, at 16 kHz.
    """
    problems: list[LabelProblem] = []
    record = read_record(manifest.parent)
    replaced = record is not None and _has_other_rows(manifest, record)
    for path in sorted(manifest.parent.glob("*")):
        if path.stem != manifest.stem or path.suffix in (".tsv", "") or not path.is_file():
            continue
        ending = path.suffix[1:]
        try:
            rows = read_lines(path, "utf-8")
        except (TextError, OSError) as error:
            fix = f"cannot be read ({error})"
            problems.append(LabelProblem(path.name, "label unreadable", True, 1, fix))
            continue
        dictionary: dict[str, int] | None = None
        malformed: list[int] = []
        dictionary_path = manifest.parent / f"dict.{ending}.txt"
        if dictionary_path.is_file():
            dictionary, malformed = read_dictionary(dictionary_path)
        labels = LabelFile(
            path.name,
            ending,
            rows,
            num_samples,
            dictionary,
            malformed,
            record is not None and ending in record.classes,
            replaced and record is not None and record.files.get(path.name) == file_digest(path),
        )
        for test in LABEL_RULES:
            problems.extend(test(labels))
    return problems


def _has_other_rows(manifest: Path, record: Record) -> bool:
    """Whether a manifest has other rows than those that mgf prepare wrote beside its labels."""
    if manifest.stem not in record.rows:
        return False
    try:
        found = read_manifest(manifest)
    except ManifestError:
        return False
    digest = rows_digest(found.paths, found.num_samples.tolist())
    return digest != record.rows[manifest.stem]
