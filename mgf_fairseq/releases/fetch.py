"""Download a release: whole or not at all, resumed file by file, every checksum compared.

What has arrived is kept in NAME.partial until all of it is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from ..utils.atomic import replace_file
from ..utils.download import Remote, download
from ..utils.progress import Progress, silent
from .card import CARD, SUMS, ReleaseError, card_text, parse_card, sums_text, verify
from .sources import PARTIAL, Found


def fetch(found: Found, dest: Path, progress: Progress = silent) -> Path:
    """Download a release into a folder of its name below `dest`; one that is there is checked.

    Args:
        found: the release at its URL.
        dest: folder of releases.
        progress: called with MB that have arrived, of all files together.

    Raises:
        OSError: the download failed; the same call resumes it.
        ReleaseError: another release is there, or a file of it is broken or missing.
    """
    release, folder = found.release, dest / found.release.name
    if folder.exists():
        _require_same(found, folder, progress)
        return folder
    part = dest / f"{release.name}{PARTIAL}"
    done = 0.0
    for file in release.files:

        def report(what: str, arrived: float, total: float, before: float = done) -> None:
            progress(what, before + arrived, release.bytes / 1e6)

        url = f"{found.place}/{quote(file.path)}"
        download(Remote(url, f"sha256:{file.sha256}"), part / file.path, report)
        done += file.bytes / 1e6
    for name, text in ((SUMS, sums_text(release)), (CARD, card_text(release))):
        with replace_file(part / name) as stream:
            stream.write(text)
    os.replace(part, folder)
    return folder


def _require_same(found: Found, folder: Path, progress: Progress) -> None:
    card = folder / CARD
    if not card.is_file():
        raise ReleaseError(f"{folder} exists and is not a release; choose another --dest")
    if parse_card(card.read_bytes(), str(card)) != found.release:
        raise ReleaseError(
            f"{folder} is another release of this name; remove it, or choose another --dest"
        )
    again = f"remove {folder} and run the same command again"
    verify(found.release, folder, again, progress)
