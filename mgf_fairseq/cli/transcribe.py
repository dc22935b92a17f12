"""`mgf transcribe`: what is said in recordings, by a fine-tuned checkpoint.

inference/ does the work; this file chooses what is written where.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .decoding_options import add_decoding, search_of, searching
from .options import (
    add_batch_seconds,
    add_device,
    add_recordings,
    add_user_dir,
    checkpoint_of,
    device_of,
    prepare_libraries,
    require_positive,
)

if TYPE_CHECKING:
    from ..inference.search import Search
    from ..inference.sources import Source
    from ..inference.transcripts import Transcript

HELP = "transcribe recordings of any length, rate and format with a fine-tuned checkpoint"
EXAMPLES = """\
examples:
  mgf transcribe runs/ctc lecture.mp3
  mgf transcribe runs/ctc recordings data/test.tsv --dest transcripts
  mgf transcribe runs/ctc talk.flac --srt > talk.srt
  mgf transcribe runs/ctc talk.flac --lm LM.arpa --word-list words.txt
  find recordings -name '*.wav' | mgf transcribe runs/ctc -
  ffmpeg -i film.mkv -f wav - | mgf transcribe runs/ctc - --json --words

One line per recording, in the order given: its path, a tab, its text. `--txt` writes the text
alone, with an empty line for a recording that was skipped; `--srt` subtitles; `--json` everything.
Standard input (-) is one path per line, or the audio itself. Long recordings are read and
recognized in pieces of 30 seconds that overlap. An attention decoder (wav2vec_seq2seq) does not
know where words are: no --words and --srt. Exit code: 0 all are transcribed, 1 some were
skipped, which standard error names, 2 none could be.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf transcribe`."""
    add = parser.add_argument
    add_recordings(add)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--txt", action="store_true", help="write the text alone")
    form.add_argument("--srt", action="store_true", help="write subtitles")
    add("--words", action="store_true", help="write each word with its start, end and confidence")
    add(
        "--dest",
        type=Path,
        metavar="DIR",
        help="folder to write one file per recording to (default: standard output)",
    )
    add("--overwrite", action="store_true", help="replace files that are in DIR already")
    add("--dict", type=Path, help="dictionary file (default: the checkpoint's own)")
    add_batch_seconds(add)
    add_decoding(add, "--word-list")
    add_device(add)
    add_user_dir(add)


def run(args: argparse.Namespace) -> int:
    """Transcribe everything and return 0; 1 if recordings were skipped."""
    from ..inference.sources import found_sources

    require_positive(args, "batch_seconds")
    device = device_of(args.device)
    search = search_of(args)
    with found_sources(args.inputs, sys.stdin.buffer) as sources:
        targets = _targets(args, sources)
        return _transcribe(args, sources, targets, device, search)


def _transcribe(
    args: argparse.Namespace,
    sources: Sequence[Source],
    targets: Sequence[Path | None],
    device: str,
    search: Search,
) -> int:
    prepare_libraries(args)
    from ..inference.formats import described
    from ..inference.long_audio import Skipped
    from ..inference.recognizer import Recognizer
    from ..utils.progress import Bars

    checkpoint = Path(checkpoint_of(args.checkpoint))
    recognizer = searching(Recognizer.load(checkpoint, args.dict, device), search)
    if (args.srt or args.words) and not recognizer.has_times:
        raise ValueError(
            f"{checkpoint}: an attention decoder (wav2vec_seq2seq) does not know where words are: "
            "give neither --srt nor --words, or train another by `mgf finetune --task ctc`"
        )
    found, skipped = [], []
    with Bars() as bars:
        run = recognizer.transcription(batch_seconds=args.batch_seconds, progress=bars)
        results = run.over([source.entry for source in sources], [s.name for s in sources])
        for result, target in zip(results, targets, strict=True):
            if isinstance(result, Skipped):
                skipped.append(result)
                bars.say(f"skipped: {result.name}: {result.reason}")
                text = "" if args.txt and not args.words else None
            else:
                found.append(described(result, args.words))
                text = _written(args, result, target)
                for flag in result.flags:
                    bars.say(f"{result.name}: {flag}")
            if text is not None and target is None and not args.json:
                bars.say(text, sys.stdout)
    if skipped and len(skipped) == len(sources):
        raise ValueError(f"nothing could be transcribed ({skipped[0].name}: {skipped[0].reason})")
    args.result = {"checkpoint": checkpoint, "transcripts": found, "skipped": skipped}
    return 1 if skipped else 0


def _form(args: argparse.Namespace) -> str:
    return "srt" if args.srt else "json" if args.json else "txt"


def _targets(args: argparse.Namespace, sources: Sequence[Source]) -> list[Path | None]:
    """Where each transcript is written; None is standard output."""
    if args.json and (args.srt or args.txt):
        raise ValueError("--json holds text and times already: leave out --srt and --txt")
    if args.dest is None:
        if args.srt and len(sources) > 1:
            raise ValueError(
                f"--srt of {len(sources)} recordings: name a folder with --dest, which gets a file "
                "for each"
            )
        return [None] * len(sources)
    targets: dict[Path, str] = {}
    for source in sources:
        target = args.dest / f"{source.stem}.{_form(args)}"
        if target in targets:
            raise ValueError(
                f"{targets[target]} and {source.name} would both be written to {target}: give "
                "them to two commands with two --dest"
            )
        if target.exists() and not args.overwrite:
            raise ValueError(f"{target} exists: choose another --dest, or add --overwrite")
        targets[target] = source.name
    return list(targets)


def _written(args: argparse.Namespace, transcript: Transcript, target: Path | None) -> str | None:
    """Write a transcript to its file, or return what standard output gets."""
    from ..inference.formats import FORMATS
    from ..utils.atomic import replace_file

    text = FORMATS[_form(args)](transcript, args.words)
    if target is not None:
        with replace_file(target) as stream:
            stream.write(text)
        return None
    if args.srt or args.txt:
        return text.rstrip("\n")
    head = f"{transcript.name}\t{transcript.text}"
    return f"{head}\n{text}".rstrip("\n") if args.words else head
