"""Download one file: whole or not at all, resumed after an interruption, checked by its digest.

The part that has arrived is kept as NAME.part beside the file; only a file whose digest is right
gets its name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .progress import Progress, silent

_BLOCK = 1 << 20  # bytes
_SMALL = 1 << 22  # bytes that a file may have which is read at once
_MB = 1e6
TIMEOUT_S = 60


@dataclass(frozen=True)
class Remote:
    """A file on a server, and what its content must be: `digest` is ``sha256:...`` or ``md5:...``.

    Digests are those that the publisher or a widely used loader of the file lists.
    """

    url: str
    digest: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


def download(remote: Remote, path: Path, progress: Progress = silent) -> None:
    """Write a remote file to `path`, or resume doing so; a file that is there is checked.

    Raises:
        OSError: it cannot be reached, broke off, or has another content than it must have.
    """
    if path.exists():
        _check(remote, path, f"remove {path} and run the same command again")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _receive(remote, part, progress)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise OSError(f"{remote.url}: {reason}; run the same command again to resume") from error
    try:
        _check(remote, part, "it was removed; run the same command again")
    except OSError:
        part.unlink()
        raise
    os.replace(part, path)


def read_small(url: str) -> bytes | None:
    """The content of a small file on a server; None where the server has no such file.

    Raises:
        OSError: it cannot be reached, or is larger than 4 MiB.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read(_SMALL + 1)
    except urllib.error.HTTPError as error:
        if error.code in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
            return None
        raise OSError(f"{url}: {error}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise OSError(f"{url}: {str(error) or type(error).__name__}; check the URL") from error
    if len(content) > _SMALL:
        raise OSError(f"{url} is larger than {_SMALL} bytes, so it is not what was looked for")
    return content


def _receive(remote: Remote, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks; a server that cannot resume sends the whole file again."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(remote.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it has arrived: its digest decides
        raise
    with answer:
        if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as stream:
            _copy(answer, stream, have, total, progress)


def _copy(
    answer: IO[bytes], stream: IO[bytes], done: int, total: int | None, progress: Progress
) -> None:
    while block := answer.read(_BLOCK):
        stream.write(block)
        done += len(block)
        progress("download", done / _MB, (total or done) / _MB)
    if total is not None and done < total:
        raise OSError(f"the connection broke off after {done} of {total} bytes")


def _check(remote: Remote, path: Path, fix: str) -> None:
    """Raise OSError unless the file has its digest."""
    kind, _, expected = remote.digest.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if found != expected:
        raise OSError(f"{path}: its {kind} is {found}, not {expected} as {remote.url} has; {fix}")
