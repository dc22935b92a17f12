"""release.json: what a release says of itself, and the checksum of each file in it.

Under all of this folder; needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..export.scores import Score
from ..utils.dataclass_json import decode, dumps, encode
from ..utils.progress import Progress, silent

CARD, INDEX, SUMS = "release.json", "models.json", "SHA256SUMS"
FORMAT = 1
MAKER = "examples/release/make.sh"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20  # bytes


class ReleaseError(ValueError):
    """A release that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A file of a release."""

    path: str  # in the folder, with /
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Release:
    """The card of a release, as release.json holds it."""

    name: str  # of its folder
    title: str
    license: str
    data: list[str]  # corpora of pre-training, each with its own license
    data_hours: float  # of them, each recording once
    heard_hours: float | None  # in pre-training, repeats counted
    updates: int | None
    parameters: int
    scores: list[Score]
    files: list[ReleasedFile]  # all but the card and SUMS
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)


def parse_card(content: bytes, where: str) -> Release:
    """Read release.json and check what it says before anything is done with it.

    Args:
        content: the file.
        where: its path or URL, for messages.

    Raises:
        ReleaseError: it is no card, of a newer format, or names files outside of its folder.
    """
    try:
        found: Any = json.loads(content)
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise ReleaseError(
                f"{where} is of format {found.get('format')!r}, and this version of mgf reads "
                f"{FORMAT}; install the version that wrote it, or a newer one"
            )
        release: Release = decode(found, Release)
    except ReleaseError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ReleaseError(f"{where}: no card of a release ({error}); {MAKER} writes one") from None
    require_name(release.name, where)
    for file in release.files:
        path = PurePosixPath(file.path)
        inside = path.parts and not path.is_absolute() and ".." not in path.parts
        if not inside or set(file.path) & set("\\:") or not _SHA256.fullmatch(file.sha256):
            raise ReleaseError(f"{where}: refused, it names the file {file.path!r}")
    return release


def require_name(name: str, where: str) -> None:
    """Accept names that are one folder and nothing else.

    Raises:
        ReleaseError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ReleaseError(
            f"{where}: refused, {name!r} is no name of a release (letters, digits, . _ -)"
        )


def card_text(release: Release) -> str:
    """The text of release.json."""
    return dumps(encode(release)) + "\n"


def sums_text(release: Release) -> str:
    """The text of SHA256SUMS, as `sha256sum --check` reads it."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in release.files)


def describe_file(path: Path, folder: Path) -> ReleasedFile:
    """A file with its size and checksum."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    name = path.relative_to(folder).as_posix()
    return ReleasedFile(path=name, bytes=path.stat().st_size, sha256=digest)


def verify(release: Release, folder: Path, fix: str, progress: Progress = silent) -> None:
    """Compare every file of a folder with its checksum.

    Args:
        release: its card.
        folder: where the files are.
        fix: what to do where one is wrong, for messages.
        progress: called after each file, in MB.

    Raises:
        ReleaseError: a file is missing or has another content; the first is named.
    """
    done = 0
    for file in release.files:
        path = folder / file.path
        if not path.is_file():
            raise ReleaseError(f"{path} is missing; {fix}")
        found = describe_file(path, folder)
        if found.sha256 != file.sha256:
            raise ReleaseError(
                f"{path} is broken: its sha256 is {found.sha256}, and {CARD} says {file.sha256}; "
                f"{fix}"
            )
        done += file.bytes
        progress("check", done / 1e6, release.bytes / 1e6)
