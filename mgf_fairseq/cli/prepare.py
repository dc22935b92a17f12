"""`mgf prepare`: options, progress bar and summary table around `mgf_fairseq.prepare.prepare`.

Usually the first verb; its output ends with the next one.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..prepare.corpora.base import AUDIO_EXTENSIONS, PrepareError, Search
from ..prepare.corpora.columns import ROLES
from ..prepare.corpora.registry import LAYOUTS, detect_layout
from ..prepare.label_files import LABEL_KINDS
from ..prepare.options import SPLIT_BY, PrepareOptions
from ..prepare.path_labels import FIELDS
from ..prepare.prepare import Summary, prepare
from ..utils.processor import cores
from ..utils.progress import Bars
from .open_corpora import add_download, source_of

HELP = "turn a folder of recordings into wav2vec manifests (.tsv), labels and dictionaries"
EXAMPLES = """\
examples:
  mgf prepare ~/recordings --dest data/mine
      any folder; every file that libsndfile reads; 1 % of the files for validation
  mgf prepare LibriSpeech/train-clean-100 --dest data/ls100 --split-by speaker --valid-percent 0.05
      LibriSpeech folders are recognized; letters, words and speakers are written as labels
  mgf prepare my_corpus --dest data/mine --labels ltr,spm --spm-vocab-size 500
      letters and 500 subword units; with a table metadata.tsv in it, its split column is kept
  mgf prepare LibriSpeech/train-clean-100 --corpus cpc --labels-from cpc_labels --dest data/cpc
      the CPC split: 41 phones and 251 speakers, from its published label files
  mgf prepare IEMOCAP_full_release --dest data/iemocap
      4 emotions; the 5 sessions become the folds of the emotion task
  mgf prepare podcasts --dest data/pod --segment-seconds 20 --split-by speaker --speaker-level 1
      long recordings become segments (read by the task mgf_pretraining, not by stock fairseq)
  mgf prepare words/list.csv --columns path=file --label keyword,lang --dest data/words
      any table; a dictionary for each label; rows that cannot be used are listed
  mgf prepare tars --dest data/web
      a folder of .tar or .zip archives, which stay packed; .txt files in them are transcripts
  mgf prepare corpora --download mini-librispeech-train-clean-5 --dest data/mini
      an open corpus by name, into the folder corpora; its license is shown first

The second column of a manifest counts samples at --sample-rate: for a file of that rate its own
samples, as wav2vec has it. manifests/README.md shows every format.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb; names shared with fairseq's wav2vec_manifest.py mean the same."""
    add = parser.add_argument
    add("source", metavar="SOURCE", type=Path, help="folder of recordings, or a table; with "
        "--download, the folder to download into")  # fmt: skip
    add("--dest", metavar="DIR", type=Path, required=True, help="folder to write into")
    add(
        "--ext",
        metavar="EXT",
        help="extension(s) to look for, as in flac or wav,mp3 (default: all)",
    )
    add("--path-must-contain", metavar="FRAG", help="keep only files whose path contains this "
        "(default: all)")  # fmt: skip
    add(
        "--corpus",
        choices=["auto", *LAYOUTS],
        default="auto",
        help="layout of SOURCE (default: auto, which recognizes it)",
    )
    add(
        "--columns",
        metavar="ROLE=NAME,...",
        help=f"what a table calls its columns; roles: {', '.join(ROLES)} "
        "(default: their usual names)",
    )
    add(
        "--labels-from",
        metavar="DIR",
        type=Path,
        help="folder of the label files of --corpus cpc or iemocap (default: SOURCE)",
    )
    add(
        "--caveat",
        metavar="TEXT",
        action="append",
        default=[],
        help="a sentence that goes into every result file made from DIR; may be repeated",
    )
    add_download(add)
    _add_splits(parser.add_argument_group("splits").add_argument)
    _add_audio_and_labels(parser.add_argument_group("audio and labels").add_argument)


def _add_splits(add: Callable[..., object]) -> None:
    add(
        "--valid-percent",
        metavar="D",
        type=float,
        default=0.01,
        help="share for validation, 0 to 1 (default: 0.01)",
    )
    add(
        "--test-percent",
        metavar="D",
        type=float,
        default=0.0,
        help="share for test, 0 to 1 (default: 0)",
    )
    add("--seed", metavar="N", type=int, default=42, help="seed of the split (default: 42)")
    add(
        "--split-by",
        choices=SPLIT_BY,
        help="what is drawn for a split: whole speakers, or single recordings (fraction) "
        "(default: the table's split column if it has one, else fraction)",
    )
    add("--split-list", metavar="FILE", type=Path, help="file of lines `utterance-or-path split` "
        "(default: none)")  # fmt: skip
    add(
        "--speaker-level",
        metavar="N",
        type=int,
        help="part of the path that names the speaker: 1 is the first folder under SOURCE, "
        "-2 the folder that holds the file (default: none)",
    )
    add(
        "--segment-seconds",
        metavar="X",
        type=float,
        help="cut recordings into segments no longer than this, in seconds (default: do not cut)",
    )
    add(
        "--vad",
        action="store_true",
        help="end segments in pauses, found by energy, and skip pauses above 1 s",
    )


def _add_audio_and_labels(add: Callable[..., object]) -> None:
    add(
        "--sample-rate",
        metavar="HZ",
        type=int,
        default=16000,
        help="rate of training, in Hz (default: 16000)",
    )
    add(
        "--convert",
        action="store_true",
        help="write all audio as mono FLAC at --sample-rate into DIR/converted; the same command "
        "again resumes",
    )
    add(
        "--labels",
        metavar="KINDS",
        help=f"labels to write, of {','.join(LABEL_KINDS)}, or none (default: all that SOURCE has, "
        "except spm)",
    )
    add(
        "--label",
        metavar="COLUMNS",
        help="classes from these columns of the table, as in keyword,lang or lang=language: "
        "SPLIT.keyword and dict.keyword.txt, and so on (default: none)",
    )
    add(
        "--label-from",
        metavar="REGEX",
        help="classes from the paths: each named group is a label, as in '(?P<digit>[0-9])_'; "
        f"groups called {', '.join(FIELDS)} fill these columns",
    )
    add(
        "--spm-vocab-size",
        metavar="N",
        type=int,
        default=1000,
        help="number of subword units (default: 1000)",
    )
    add(
        "--case",
        choices=["upper", "lower", "keep"],
        default="upper",
        help="letter case of transcripts (default: upper)",
    )
    add("--workers", metavar="N", type=int, default=min(8, cores()), help="threads")


def _search(args: argparse.Namespace) -> Search:
    names = (name.strip().lower().lstrip(".") for name in (args.ext or "").split(","))
    return Search(
        tuple(name for name in names if name) or AUDIO_EXTENSIONS,
        args.path_must_contain,
        args.speaker_level,
        args.labels_from,
        _pairs(args.columns, "--columns path=NAME,text=NAME"),
        _pairs(args.label, "--label NAME=COLUMN", alone=True),
    )


def _pairs(text: str | None, form: str, alone: bool = False) -> dict[str, str]:
    """Parse `a=x,b=y`; a word alone means `a=a`, where that is allowed."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        value = value or ("" if equals or not alone else name)
        if not name or not value or name in found:
            raise PrepareError(f"{part!r}: expected {form}, each name once")
        found[name] = value
    return found


def _labels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name for name in text.replace(" ", "").split(",") if name and name != "none")


def run(args: argparse.Namespace) -> int:
    """Prepare, print the summary, return 0."""
    search = _search(args)
    layout, source = args.corpus, source_of(args)
    if layout == "auto":
        layout = detect_layout(source, search)
        print(f"{source} looks like: {layout} (--corpus chooses another layout)")
    options = PrepareOptions(
        source=source,
        dest=args.dest,
        layout=layout,
        search=search,
        valid_percent=args.valid_percent,
        test_percent=args.test_percent,
        seed=args.seed,
        split_by=args.split_by,
        split_list=args.split_list,
        sample_rate=args.sample_rate,
        segment_seconds=args.segment_seconds,
        vad=args.vad,
        labels=_labels(args.labels),
        label_from=args.label_from,
        spm_vocab_size=args.spm_vocab_size,
        case=args.case,
        workers=args.workers,
        caveats=tuple(args.caveat),
        convert=args.convert,
    )
    with Bars() as bars:
        args.result = prepare(options, bars)
    _print_summary(args.result, options)
    return 0


def _print_summary(summary: Summary, options: PrepareOptions) -> None:
    width = max(len(item.split) for item in summary.splits) + 4
    print(f"{'manifest':<{width}}  utterances     hours  speakers")
    for item in summary.splits:
        name, speakers = f"{item.split}.tsv", str(item.speakers or "-")
        print(f"{name:<{width}}  {item.utterances:10d}  {item.hours:8.2f}  {speakers:>8}")
    print(f"labels: {', '.join(summary.labels) or 'none'}")
    if summary.resampled:
        print(
            f"{summary.resampled} file(s) are not at {options.sample_rate} Hz: the task "
            "mgf_pretraining resamples them on reading, stock fairseq refuses them (--convert)"
        )
    if summary.down_mixed:
        print(f"{summary.down_mixed} file(s) have several channels: averaged on reading")
    if summary.skipped:
        print(f"skipped: {len(summary.skipped)} item(s), listed in {options.dest / 'skipped.txt'}")
        for reason, count in Counter(reason for _, reason in summary.skipped).most_common(5):
            print(f"  {count:6d}  {reason}")
    for note in summary.notes:
        print(f"note: {note}")
    print(f"next: mgf check {options.dest}")
