"""From a corpus on disk to manifests, labels and dictionaries in one folder: `mgf prepare`.

Between the layouts of `corpora` and the files that training and stock fairseq read; it reads
headers only and prints nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .audio import AudioError, AudioInfo, audio_info, resampled_length
from .caveats import write_caveats
from .convert import Conversion
from .corpora import Corpus, PrepareError, Search, Utterance
from .label_files import LABEL_KINDS, write_labels
from .layouts import READERS, read_corpus
from .manifest import write_manifest
from .replacing import replace_file
from .splits import assign_splits, read_split_list
from .threads import ordered_map

SPLIT_BY = ("fraction", "speaker")
_ROUNDED = 0.1  # s by which a table's end may pass that of the recording, and is cut to it


@dataclass(frozen=True)
class PrepareOptions:
    """What `mgf prepare` is asked to do; bad values raise PrepareError by name."""

    source: Path
    dest: Path
    layout: str = "auto"
    search: Search = field(default_factory=Search)
    valid_percent: float = 0.01  # a share between 0 and 1, as in fairseq's wav2vec_manifest.py
    test_percent: float = 0.0
    seed: int = 42
    split_by: str | None = None  # None: the table's own split column, else by fraction
    split_list: Path | None = None
    sample_rate: int = 16000  # Hz
    segment_seconds: float | None = None
    labels: tuple[str, ...] | None = None  # None: whatever the corpus has
    spm_vocab_size: int = 1000
    case: str = "upper"
    workers: int = 4
    convert: bool = False  # write all audio as mono FLAC of `sample_rate`, below `dest`
    caveats: tuple[str, ...] = ()  # sentences that go into every result file, beside the corpus's

    def __post_init__(self) -> None:
        for name in ("valid_percent", "test_percent"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PrepareError(f"{name}={value}: must be a share between 0 and 1")
        if self.valid_percent + self.test_percent > 1:
            raise PrepareError("valid_percent and test_percent add up to more than 1")
        for name in ("sample_rate", "workers", "spm_vocab_size"):
            if getattr(self, name) < 1:
                raise PrepareError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.segment_seconds is not None and self.segment_seconds <= 0:
            raise PrepareError(f"segment_seconds={self.segment_seconds}: must be above 0")
        if self.layout not in ("auto", *READERS):
            raise PrepareError(f"layout={self.layout!r}: choose auto, {', '.join(READERS)}")
        unknown = set(self.labels or ()) - set(LABEL_KINDS)
        if unknown:
            raise PrepareError(
                f"labels={','.join(sorted(unknown))}: choose from {', '.join(LABEL_KINDS)}"
            )


@dataclass(frozen=True, slots=True)
class Row:
    """One manifest line and the utterance it comes from."""

    utterance: Utterance
    entry: str
    num_samples: int  # at the manifest's rate
    offset: float = 0.0  # seconds into the utterance
    whole: bool = True


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


class Progress:
    """Told of each step; the command line shows a bar."""

    def start(self, total: int, what: str = "reading headers") -> None:
        """`total` files are about to be read, for what it says."""

    def advance(self) -> None:
        """One file was read."""

    def stop(self) -> None:
        """All files were read."""


def prepare(options: PrepareOptions, progress: Progress | None = None) -> Summary:
    """Read the corpus, write `{split}.tsv`, labels, dictionaries and skipped.txt into `dest`.

    The same source and options give the same bytes. Files that cannot be read are left out and
    listed with the reason. Raises PrepareError, LabelError or ManifestError where nothing sensible
    can be written.
    """
    corpus = read_corpus(options.source, options.layout, options.search)
    skipped = list(corpus.left_out)
    wanted = _drop_unwanted(corpus, options, skipped)
    infos = read_headers(corpus.root, wanted, options.workers, progress or Progress(), skipped)
    readable = _drop_beyond_end(wanted, infos, skipped)
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
    rows: dict[str, list[Row]] = {}
    for (item, info), split in zip(readable, splits, strict=True):
        rows.setdefault(split, []).extend(
            cut(item, info, options.sample_rate, options.segment_seconds)
        )
    options.dest.mkdir(parents=True, exist_ok=True)
    notes = _stale_files(options.dest, rows)
    rows = {split: rows[split] for split in _in_order(rows)}
    if options.convert:
        corpus, rows = _convert(options, corpus, rows, skipped, notes, progress or Progress())
    written = write_labels(options, corpus, rows, notes)
    for split, members in rows.items():
        lines = ((row.entry, row.num_samples) for row in members)
        write_manifest(options.dest / f"{split}.tsv", corpus.root, lines)
    skipped.sort()
    _write_skipped(options.dest / "skipped.txt", skipped)
    used = {item.path: info for item, info in readable}
    caveats = (*corpus.caveats, *options.caveats)
    write_caveats(options.dest, caveats)
    return Summary(
        corpus.layout,
        [_summarize(split, members, options.sample_rate) for split, members in rows.items()],
        written,
        skipped,
        0 if options.convert else sum(i.sample_rate != options.sample_rate for i in used.values()),
        0 if options.convert else sum(info.channels > 1 for info in used.values()),
        [*caveats, *notes],
    )


def _convert(
    options: PrepareOptions,
    corpus: Corpus,
    rows: dict[str, list[Row]],
    skipped: list[tuple[str, str]],
    notes: list[str],
    progress: Progress,
) -> tuple[Corpus, dict[str, list[Row]]]:
    """The corpus and its rows over converted files, without recordings that cannot be."""
    conversion = Conversion(options.source, corpus.root, options.dest, options.sample_rate)
    entries = list(dict.fromkeys(row.entry for members in rows.values() for row in members))
    progress.start(len(entries), "converting")
    done, failed = conversion.convert_all(entries, options.workers, progress.advance)
    progress.stop()
    skipped += failed
    notes.append(conversion.summary(done))
    found = {
        split: [
            replace(row, entry=done[row.entry].name, num_samples=done[row.entry].num_samples)
            for row in members
            if row.entry in done
        ]
        for split, members in rows.items()
    }
    kept = {split: members for split, members in found.items() if members}
    return replace(corpus, root=conversion.folder), kept


def _drop_unwanted(
    corpus: Corpus, options: PrepareOptions, skipped: list[tuple[str, str]]
) -> list[Utterance]:
    """Leave out what the options or the file format exclude, each with its reason."""
    listed = read_split_list(options.split_list)
    text_asked = bool({"ltr", "wrd", "spm"} & set(options.labels or ()))
    kept = []
    for item in corpus.utterances:
        if not _can_stand_in_manifest(item.path):
            skipped.append((item.path, "the name holds a tab, line break or broken UTF-8"))
        elif listed and item.utt not in listed and item.path not in listed:
            skipped.append((item.path, "not in the split list"))
        elif text_asked and not item.text:
            skipped.append((item.path, "no transcript"))
        else:
            kept.append(item)
    if listed and not any(item.utt in listed or item.path in listed for item in corpus.utterances):
        raise PrepareError(
            f"{options.split_list} names none of the utterances: its first column must be the file "
            f"name without extension, or the path under the source, as in {_example(corpus)}"
        )
    return kept


def _example(corpus: Corpus) -> str:
    """An utterance of the corpus, for messages."""
    return f"{corpus.utterances[0].utt!r} or {corpus.utterances[0].path!r}"


def _can_stand_in_manifest(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not any(mark in path for mark in "\t\n\r")


def read_headers(
    root: Path,
    utterances: Sequence[Utterance],
    workers: int,
    progress: Progress,
    skipped: list[tuple[str, str]],
) -> dict[str, AudioInfo]:
    """Header of each recording that can be read, by path; a line in `skipped` for the others."""

    def read(path: str) -> AudioInfo | str:
        entry = os.path.join(root, path)
        try:
            return audio_info(entry)
        except AudioError as error:
            return str(error).removeprefix(f"{entry}: ")

    paths = list(dict.fromkeys(item.path for item in utterances))
    infos: dict[str, AudioInfo] = {}
    progress.start(len(paths))
    for path, found in zip(paths, ordered_map(read, paths, workers), strict=True):
        progress.advance()
        if isinstance(found, str):
            skipped.append((path, found))
        else:
            infos[path] = found
    progress.stop()
    return infos


def _drop_beyond_end(
    utterances: Sequence[Utterance],
    infos: Mapping[str, AudioInfo],
    skipped: list[tuple[str, str]],
) -> list[tuple[Utterance, AudioInfo]]:
    """Pair utterances with headers; without those that could not be read or end after the file."""
    readable = []
    for item in utterances:
        info = infos.get(item.path)
        if info is None:
            continue
        seconds = info.num_samples / info.sample_rate
        start, end = item.stretch or (0.0, seconds)
        first, last = _span(item, info)
        if end > seconds + _ROUNDED or first >= last:
            reason = f"{item.utt}, {start:g} to {end:g} s, is not within its {seconds:.3f} s"
            skipped.append((item.path, reason))
        else:
            readable.append((item, info))
    return readable


def _span(item: Utterance, info: AudioInfo) -> tuple[int, int]:
    """First sample of the utterance in its recording, and the one after its last."""
    if item.stretch is None:
        return 0, info.num_samples
    first, last = (round(seconds * info.sample_rate) for seconds in item.stretch)
    return first, min(last, info.num_samples)


def cut(
    item: Utterance, info: AudioInfo, sample_rate: int, segment_seconds: float | None
) -> list[Row]:
    """One row, or equal offset segments of at most `segment_seconds` for a longer utterance."""
    first, last = _span(item, info)
    longest = round((segment_seconds or 0) * info.sample_rate)
    pieces = max(1, -(-(last - first) // longest)) if longest else 1
    rows = []
    for piece in range(pieces):
        start = first + piece * (last - first) // pieces
        length = first + (piece + 1) * (last - first) // pieces - start
        count = resampled_length(length, info.sample_rate, sample_rate)
        part = (start, length) != (0, info.num_samples)
        entry = f"{item.path}:{start}:{length}" if part else item.path
        offset = (start - first) / info.sample_rate
        rows.append(Row(item, entry, count, offset, whole=pieces == 1))
    return rows


def _in_order(splits: Iterable[str]) -> list[str]:
    """train, valid, test, then the others by name."""
    usual = ("train", "valid", "test")
    return sorted(splits, key=lambda name: (usual.index(name) if name in usual else 3, name))


def _stale_files(dest: Path, rows: dict[str, list[Row]]) -> list[str]:
    """Splits of an earlier run that this one does not replace."""
    stale = sorted(path.name for path in dest.glob("*.tsv") if path.stem not in rows)
    return [f"{', '.join(stale)} in {dest} are of an earlier run; remove them"] if stale else []


def _write_skipped(path: Path, skipped: list[tuple[str, str]]) -> None:
    with replace_file(path) as stream:
        stream.write("path\treason\n")
        for name, reason in skipped:
            shown = name if _can_stand_in_manifest(name) else repr(name)
            stream.write(f"{shown}\t{' '.join(reason.split())}\n")


def _summarize(split: str, rows: list[Row], sample_rate: int) -> SplitSummary:
    speakers = Counter(row.utterance.speaker for row in rows if row.utterance.speaker)
    hours = sum(row.num_samples for row in rows) / sample_rate / 3600
    return SplitSummary(split, len(rows), hours, len(speakers))
