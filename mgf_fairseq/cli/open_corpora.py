"""What `mgf prepare --download` asks before it downloads an open corpus: a yes to its license."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..prepare.corpora.base import PrepareError
from ..prepare.open_corpora import OPEN_CORPORA, fetch, place
from ..utils.progress import Bars


def add_download(add: Callable[..., Any]) -> None:
    """``--download`` and ``--accept-license``."""
    add(
        "--download",
        metavar="NAME",
        choices=list(OPEN_CORPORA),
        help=f"first download an open corpus: {', '.join(OPEN_CORPORA)}; the same command resumes "
        "(default: none)",
    )
    add("--accept-license", action="store_true", help="do not ask about the corpus's license")


def source_of(args: argparse.Namespace) -> Path:
    """The folder of recordings, downloaded first where that is asked for and agreed to."""
    folder: Path = args.source
    if args.download is None:
        return folder
    there, corpus = place(args.download, folder), OPEN_CORPORA[args.download]
    if not there.is_dir():
        print(f"{corpus.title}\nfrom {corpus.archive.url} ({corpus.home})")
        print(f"license: {corpus.license}", flush=True)
        if not args.accept_license and not _agreed():
            raise PrepareError(
                f"{args.download} is not downloaded: answer yes, or pass --accept-license"
            )
        with Bars() as bars:
            fetch(args.download, folder, bars)
    return there


def _agreed() -> bool:
    print("Type yes to accept the license and download: ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "yes"
