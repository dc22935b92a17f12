"""`mgf models`: pre-trained models that lie in a folder or at a URL, listed, checked, downloaded.

mgf_fairseq/releases does the work; this file has the options and prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.progress import Bars
from .open_corpora import add_accept_license, require_agreed

if TYPE_CHECKING:
    from ..releases.card import Release
    from ..releases.sources import Found

HELP = "list, check and download pre-trained models that lie in a folder or at a URL"
EXAMPLES = """\
examples:
  mgf models                                     what lies in the folder models
  mgf models https://example.org/models          what is there; no model is downloaded
  mgf models https://example.org/models mini --dest models
  mgf models models mini                         its card; every checksum is compared

Nothing is downloaded without --dest and a yes to the license. The same command resumes. The folder
of a model is a checkpoint for all other verbs, as in mgf finetune models/mini data.
examples/release/make.sh makes such folders.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf models`."""
    add = parser.add_argument
    add(
        "source",
        nargs="?",
        default="models",
        metavar="FOLDER|URL",
        help="a model, or a folder of several (default: the folder models)",
    )
    add("name", nargs="?", metavar="NAME", help="the model to check or to download (default: list)")
    add(
        "--dest",
        type=Path,
        metavar="FOLDER",
        help="download the model to FOLDER/NAME (default: download nothing)",
    )
    add_accept_license(add)


def run(args: argparse.Namespace) -> int:
    """List, check or download, and return 0."""
    from ..releases.sources import choose, find_releases, is_url

    if args.dest is not None and not is_url(args.source):
        raise ValueError(f"{args.source} is a folder on this machine: use it without --dest")
    found = find_releases(args.source)
    if args.dest is None and args.name is None:
        print(_table([item.release for item in found.values()]))
        args.result = [_told(item) for item in found.values()]
        name = next(iter(found))
        following = " --dest models" if is_url(args.source) else ""
        print(f"\nnext: mgf models {args.source} {name}{following}")
        return 0
    chosen = choose(found, args.name, args.source)
    print(_card(chosen.release))
    place = chosen.place
    if args.dest is not None:
        place = str(_download(args, chosen))
    elif not chosen.remote:
        _check(chosen)
    args.result = {**_told(chosen), "place": place}
    if is_url(place):
        print(f"next: mgf models {args.source} {chosen.release.name} --dest models")
    else:
        print(f"next: mgf finetune {place} DATA, or any verb that takes a checkpoint")
    return 0


def _download(args: argparse.Namespace, chosen: Found) -> Path:
    from ..releases.fetch import fetch

    release = chosen.release
    if not (args.dest / release.name).exists():
        print(f"{release.bytes / 1e6:.1f} MB from {chosen.place}")
        require_agreed(args, release.name, release.license)
    with Bars() as bars:
        place = fetch(chosen, args.dest, bars)
    print(f"{place}: complete, all {len(release.files)} checksums are right")
    return place


def _check(chosen: Found) -> None:
    from ..releases.card import verify

    with Bars() as bars:
        verify(chosen.release, Path(chosen.place), "download or make the model again", bars)
    print(f"{chosen.place}: complete, all {len(chosen.release.files)} checksums are right")


def _told(found: Found) -> dict[str, object]:
    from ..utils.dataclass_json import encode

    return {**encode(found.release), "place": found.place}


def _table(releases: Sequence[Release]) -> str:
    rows = [("name", "MB", "data, h", "updates", "license", "scores")]
    rows += [
        (
            release.name,
            f"{release.bytes / 1e6:.1f}",
            f"{release.data_hours:.1f}",
            _updates(release),
            release.license,
            "; ".join(f"{score.task}: {score.value}" for score in release.scores) or "none",
        )
        for release in releases
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[5]]) for row in rows]
    return "\n".join(lines)


def _card(release: Release) -> str:
    heard = "?" if release.heard_hours is None else f"{release.heard_hours:.1f}"
    lines = [
        f"{release.name}: {release.title}",
        f"license: {release.license}",
        *(f"data: {corpus}" for corpus in release.data),
        f"hours of data: {release.data_hours:.1f}; heard in pre-training, repeats counted: {heard}",
        f"updates: {_updates(release)}; parameters: {release.parameters:,}",
        *(f"{score.task}: {score.value}" for score in release.scores),
        *(f"{file.sha256}  {file.bytes:>10}  {file.path}" for file in release.files),
    ]
    return "\n".join(lines)


def _updates(release: Release) -> str:
    return "?" if release.updates is None else str(release.updates)
