"""What is asked before anything is downloaded: a yes to its license.

`mgf prepare --download` and `mgf models` share it; the options of the first are here too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    add_accept_license(add)


def add_accept_license(add: Callable[..., Any]) -> None:
    """``--accept-license``."""
    add("--accept-license", action="store_true", help="do not ask about the license")


def source_of(args: argparse.Namespace) -> Path:
    """The folder of recordings, downloaded first where that is asked for and agreed to."""
    folder: Path = args.source
    if args.download is None:
        return folder
    there, corpus = place(args.download, folder), OPEN_CORPORA[args.download]
    if not there.is_dir():
        print(f"{corpus.title}\nfrom {corpus.archive.url} ({corpus.home})")
        require_agreed(args, args.download, corpus.license)
        with Bars() as bars:
            fetch(args.download, folder, bars)
    return there


def require_agreed(args: argparse.Namespace, what: str, license_of: str) -> None:
    """Show a license and ask for a yes.

    Raises:
        ValueError: the answer is another.
    """
    print(f"license: {license_of}", flush=True)
    if args.accept_license:
        return
    print("Type yes to accept the license and download: ", end="", flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise ValueError(f"{what} is not downloaded: answer yes, or pass --accept-license")
