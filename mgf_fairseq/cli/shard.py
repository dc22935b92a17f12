"""`mgf shard`: options, progress bar and summary around `mgf_fairseq.prepare.shards`.

Between `mgf prepare` and training, for file systems that are slow with millions of small files.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..prepare.packing import ShardError
from ..prepare.shards import ShardOptions, ShardSummary, shard
from ..utils.progress import Bars

HELP = "pack the audio of a prepared folder into few large archives that are read in place"
EXAMPLES = """\
examples:
  mgf shard data/mine --dest data/mine_packed
      shard-00000.zip, ...; every manifest over them; labels and dictionaries copied
  mgf shard data/mine --dest /lustre/mine --shard-size 4G
  mgf shard data/talks --dest data/talks_cut --cut
      segments of hour-long recordings become files of their own, for stock fairseq too

Train from the new folder (task.data=data/mine_packed): crops are read from inside the archives,
by seeking, and are the same as before. Stock fairseq reads these manifests too, segments with
--cut. The same command again resumes an interrupted one.
"""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add = parser.add_argument
    add("data", metavar="DATA", type=Path, help="folder that mgf prepare wrote")
    add("--dest", metavar="DIR", type=Path, required=True, help="folder to write into")
    add(
        "--shard-size",
        metavar="BYTES",
        default="1G",
        help="audio per archive in bytes, as in 500M or 4G (default: 1G)",
    )
    add("--cut", action="store_true", help="store segments as FLAC files of their own (mono)")


def run(args: argparse.Namespace) -> int:
    """Pack, print the summary, return 0."""
    options = ShardOptions(args.data, args.dest, _parse_size(args.shard_size), args.cut)
    with Bars() as bars:
        summary = shard(options, bars)
    args.result = summary
    _print_summary(summary, options)
    return 0


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if not match:
        raise ShardError(f"--shard-size {text!r}: give bytes, as in 500M or 4G")
    return round(float(match[1]) * _UNITS[match[2]])


def _print_summary(summary: ShardSummary, options: ShardOptions) -> None:
    kept = f", {summary.kept} of them from an earlier run" if summary.kept else ""
    print(
        f"{summary.files} files ({summary.size / 1e9:.2f} GB) in {summary.shards} archive(s)"
        f"{kept}, under {options.dest}"
    )
    print(f"manifests: {', '.join(summary.manifests)}")
    print(f"copied: {', '.join(summary.copied) or 'nothing'}")
    for note in summary.notes:
        print(f"note: {note}")
    print(f"next: mgf check {options.dest}")
