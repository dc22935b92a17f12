"""From a corpus on disk to manifests, labels and dictionaries in one folder: `mgf prepare`.

Between the layouts of `corpora` and the files that training and stock fairseq read; it reads
headers only and prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.audio import AudioInfo
from ..data.caveats import write_caveats
from ..data.manifest import looks_like_manifest, write_manifest
from ..data.prepared import read_record, rows_digest
from ..utils.atomic import refuse_foreign, replace_file
from ..utils.progress import Progress, silent
from .convert import Conversion
from .corpora.base import Corpus, PrepareError, Utterance, fits_into_manifest
from .corpora.registry import read_corpus
from .label_files import LABEL_KINDS, Rows, Work, further_kinds, write_labels
from .options import PrepareOptions
from .own_files import SKIPPED_FILE, SKIPPED_HEAD, is_ours
from .path_labels import label_by_path
from .publishing import publish, staging
from .rows import Row, cut, drop_beyond_end, read_headers, span
from .speech import Span, find_speech
from .splits import assign_splits, list_test, read_split_list, split_test


@dataclass(frozen=True)
class SplitSummary:
    """One line of the table at the end."""

    split: str
    utterances: int
    hours: float
    speakers: int


@dataclass(frozen=True)
class Summary:
    """What was written, and what was not."""

    layout: str
    splits: list[SplitSummary]
    labels: list[str]
    skipped: list[tuple[str, str]]  # (path, reason)
    resampled: int  # files of another rate, which our reader converts
    down_mixed: int  # files of several channels
    notes: list[str]


def prepare(options: PrepareOptions, progress: Progress = silent) -> Summary:
    """Read the corpus, write `{split}.tsv`, labels, dictionaries and skipped.txt into `dest`.

    The same source and options give the same bytes. Files that cannot be read are skipped and
    listed with the reason. The files appear together at the end: after an error those of an earlier
    run are as they were. Raises PrepareError, LabelError or ManifestError where nothing useful
    can be written, ForeignFileError where a foreign file would be replaced.
    """
    corpus = read_corpus(options.source, options.layout, options.search)
    if options.label_from is not None:
        corpus = label_by_path(corpus, options.label_from)
    skipped = list(corpus.skipped)
    wanted = _drop_unwanted(corpus, options, skipped)
    infos = read_headers(corpus.root, wanted, options.workers, skipped, progress)
    readable = drop_beyond_end(wanted, infos, skipped)
    if not readable:
        reason = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise PrepareError(f"none of the {len(corpus.utterances)} files can be used{reason}")
    splits = assign_splits(
        [item for item, _ in readable],
        options.split_by,
        read_split_list(options.split_list),
        {"valid": options.valid_percent, "test": options.test_percent},
        options.seed,
        corpus.valid_from_train,
    )
    notes = list(corpus.notes)
    found = _rows(options, corpus.root, readable, splits, skipped, notes, progress)
    rows = {split: found[split] for split in _in_order(found)}
    caveats = (*corpus.caveats, *options.caveats)
    if options.convert:
        corpus, rows = _convert(options, corpus, rows, skipped, notes, progress)
    skipped.sort()
    written = _write_set(options, corpus, rows, skipped, caveats, notes)
    used = {item.path: info for item, info in readable}
    return Summary(
        corpus.layout,
        [_summarize(split, members, options.sample_rate) for split, members in rows.items()],
        written,
        skipped,
        0 if options.convert else sum(i.sample_rate != options.sample_rate for i in used.values()),
        0 if options.convert else sum(info.channels > 1 for info in used.values()),
        [*caveats, *notes],
    )


def _rows(
    options: PrepareOptions,
    root: Path,
    readable: Sequence[tuple[Utterance, AudioInfo]],
    splits: Sequence[str],
    skipped: list[tuple[str, str]],
    notes: list[str],
    progress: Progress,
) -> Rows:
    """The rows of each split, long recordings cut; without recordings that hold no speech."""
    spoken: Sequence[list[Span] | None] = [None] * len(readable)
    longest = options.segment_seconds or 0.0
    if options.vad:
        items = [(item, info, span(item, info)) for item, info in readable]
        spoken = find_speech(root, items, longest, options.workers, skipped, progress)
        notes.append(_pauses(items, spoken))
    found: Rows = {}
    for (item, info), split, speech in zip(readable, splits, spoken, strict=True):
        if speech or not options.vad:
            rows = cut(item, info, options.sample_rate, longest, speech)
            found.setdefault(split, []).extend(rows)
    if not found:
        raise PrepareError(f"no speech was found in any of the {len(readable)} recordings")
    return found


def _pauses(
    items: Sequence[tuple[Utterance, AudioInfo, Span]], spoken: Sequence[list[Span] | None]
) -> str:
    """How much of the recordings is in no piece."""
    hours = kept = 0.0
    for (_, info, (first, last)), spans in zip(items, spoken, strict=True):
        hours += (last - first) / info.sample_rate / 3600
        kept += sum(end - begin for begin, end in spans or ()) / info.sample_rate / 3600
    return f"--vad: {hours - kept:.2f} of {hours:.2f} h are pauses and were skipped"


def _convert(
    options: PrepareOptions,
    corpus: Corpus,
    rows: Rows,
    skipped: list[tuple[str, str]],
    notes: list[str],
    progress: Progress,
) -> tuple[Corpus, Rows]:
    """The corpus and its rows over converted files, without recordings that cannot be."""
    conversion = Conversion(options.source, corpus.root, options.dest, options.sample_rate)
    entries = list(dict.fromkeys(row.entry for members in rows.values() for row in members))
    done, failed = conversion.convert_all(entries, options.workers, progress)
    skipped += failed
    notes.append(conversion.summary(done))
    found: Rows = {
        split: [
            replace(row, entry=done[row.entry].name, num_samples=done[row.entry].num_samples)
            for row in members
            if row.entry in done
        ]
        for split, members in rows.items()
    }
    kept = {split: members for split, members in found.items() if members}
    return replace(corpus, root=conversion.folder), kept


def _write_set(
    options: PrepareOptions,
    corpus: Corpus,
    rows: Rows,
    skipped: Sequence[tuple[str, str]],
    caveats: Sequence[str],
    notes: list[str],
) -> list[str]:
    """Write all files to a staging folder, then move them into `dest`; returns the label kinds."""
    dest = options.dest
    with staging(dest) as folder:
        written = write_labels(Work(options, corpus, rows, folder, notes))
        for split, members in rows.items():
            lines = ((row.entry, row.num_samples) for row in members)
            write_manifest(folder / f"{split}.tsv", corpus.root, lines)
        _write_skipped(folder / SKIPPED_FILE, skipped)
        write_caveats(folder, caveats)
        record = read_record(dest)
        names = sorted(path.name for path in folder.iterdir())
        refuse_foreign((dest / name for name in names), lambda path: is_ours(path, record))
        digests = {
            split: rows_digest((r.entry for r in members), (r.num_samples for r in members))
            for split, members in rows.items()
        }
        kinds = {**LABEL_KINDS, **further_kinds(options)}
        classes = [name for name in written if kinds[name].classes]
        removed, changed = publish(folder, dest, digests, classes)
    if removed:
        notes.append(f"removed what an earlier run had left in {dest}: {', '.join(removed)}")
    if changed:
        notes.append(
            f"{', '.join(changed)} in {dest}: of an earlier run and changed since, so kept"
        )
    others = [path.name for path in sorted(dest.glob("*.tsv")) if path.name not in names]
    stale = [name for name in others if name not in changed and looks_like_manifest(dest / name)]
    if stale:
        notes.append(
            f"{', '.join(stale)} in {dest}: of an earlier run, or made from one; make them again "
            "or remove them: their rows may be in other splits now"
        )
    return written


def _drop_unwanted(
    corpus: Corpus, options: PrepareOptions, skipped: list[tuple[str, str]]
) -> list[Utterance]:
    """Skip what the options or the file format exclude, each with its reason."""
    listed = read_split_list(options.split_list)
    tests = [_name_problem, *_label_tests(corpus, options)]
    tests.append(
        list_test(listed, corpus.utterances)
        if listed
        else split_test(corpus.utterances, options.split_by)
    )
    kept = []
    for item in corpus.utterances:
        reason = next((found for test in tests if (found := test(item))), None)
        if reason:
            skipped.append((item.path, reason))
        else:
            kept.append(item)
    if listed and not any(item.utt in listed or item.path in listed for item in corpus.utterances):
        raise PrepareError(
            f"{options.split_list} names none of the utterances: its first column must be the file "
            f"name without extension, or the path under the source, as in {_example(corpus)}"
        )
    return kept


def _name_problem(item: Utterance) -> str | None:
    fits = fits_into_manifest(item.path)
    return None if fits else "the name holds a tab, line break or broken UTF-8"


def _label_tests(
    corpus: Corpus, options: PrepareOptions
) -> list[Callable[[Utterance], str | None]]:
    """Tests for labels that were requested; a label that no utterance has is an error later."""
    kinds = {**LABEL_KINDS, **further_kinds(options)}
    asked = [*(options.labels or ()), *options.further_labels]
    tests = [kinds[name].lacks for name in asked if kinds[name].anywhere(corpus.utterances)]
    if options.labels is None and not options.segment_seconds:
        tests += [kind.lacks for kind in LABEL_KINDS.values() if kind.drops(corpus.utterances)]
    return tests


def _example(corpus: Corpus) -> str:
    """An utterance of the corpus, for messages."""
    return f"{corpus.utterances[0].utt!r} or {corpus.utterances[0].path!r}"


def _in_order(splits: Iterable[str]) -> list[str]:
    """train, valid, test, then the others by name."""
    usual = ("train", "valid", "test")
    return sorted(splits, key=lambda name: (usual.index(name) if name in usual else 3, name))


def _write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    with replace_file(path) as stream:
        stream.write(SKIPPED_HEAD)
        for name, reason in skipped:
            shown = name if fits_into_manifest(name) else repr(name)
            reason = reason.encode("utf-8", "backslashreplace").decode()
            stream.write(f"{shown}\t{' '.join(reason.split())}\n")


def _summarize(split: str, rows: list[Row], sample_rate: int) -> SplitSummary:
    speakers = Counter(row.utterance.speaker for row in rows if row.utterance.speaker)
    hours = sum(row.num_samples for row in rows) / sample_rate / 3600
    return SplitSummary(split, len(rows), hours, len(speakers))
