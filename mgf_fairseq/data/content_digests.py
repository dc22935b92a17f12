"""One digest for the audio of a manifest, over contents rather than names and dates.

The feature store uses it as a key. A file is read once, and again only after its size or one of its
times has changed, as in git's index: a million known files cost a million calls of `stat`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ..utils.atomic import replace_file
from ..utils.progress import Progress, silent
from ..utils.threads import map_with_progress
from .entries import ManifestError, parse_entry
from .manifest import Manifest

MISSING = "missing"  # in place of the digest of a file that cannot be read
_BLOCK = 1 << 20
_THREADS = 4
# A file written this recently may change again without a change of its times.
_SETTLED_NS = 2_000_000_000
_Times = tuple[int, int, int]  # size, mtime_ns, ctime_ns


def audio_key(
    manifest: Manifest,
    rows: Iterable[int],
    table: Path,
    progress: Progress | None = None,
) -> str:
    """Digest of what the rows of a manifest hold, in order.

    It covers contents, stretches and lengths, neither names nor dates: a moved or touched corpus
    keeps its key; a file that cannot be read counts as missing.

    Args:
        table: where known digests are kept between calls; made if it does not exist.
        progress: called as files are read.
    """
    parts = [_split(manifest, row) for row in rows]
    digests = file_digests({path for path, _ in parts}, table, progress or silent)
    whole = hashlib.sha256()
    for path, rest in parts:
        whole.update(f"{digests[path]} {rest}\n".encode())
    return whole.hexdigest()


def _split(manifest: Manifest, row: int) -> tuple[str, str]:
    """The file of a row, and the rest of what decides its audio."""
    count = int(manifest.num_samples[row])
    try:
        entry = manifest.entry(row)
        parsed = parse_entry(entry)
    except ManifestError as error:
        return "", f"{error} {count}"
    if entry != parsed.path and not os.path.exists(parsed.path) and os.path.exists(entry):
        return entry, str(count)  # a file whose own name ends like a stretch, as audio.py has it
    parts = (*(parsed.member or ()), *(parsed.segment or ())) or (None, None)
    return parsed.path, " ".join(map(str, (*parts, count)))


def file_digests(paths: set[str], table: Path, progress: Progress = silent) -> dict[str, str]:
    """Digest of each file's bytes, MISSING where it cannot be read."""
    known = _read_table(table)
    times = {path: _times(path) for path in sorted(paths)}
    digests: dict[str, str] = {}
    unknown: list[str] = []
    for path, now in times.items():
        if now is None:
            digests[path] = MISSING
        elif path in known and known[path][0] == now:
            digests[path] = known[path][1]
        else:
            unknown.append(path)
    if unknown:
        digests |= map_with_progress(_digest_file, unknown, _THREADS, "read audio", progress)
        _write_table(table, known, times, digests)
    return digests


def _times(path: str) -> _Times | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest_file(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError:
        return MISSING
    return digest.hexdigest()


def _read_table(table: Path) -> dict[str, tuple[_Times, str]]:
    """Known digests; empty where there is no table or it is not readable."""
    known: dict[str, tuple[_Times, str]] = {}
    try:
        text = table.read_bytes().decode("utf-8").removesuffix("\n")
        for line in text.split("\n") if text else ():  # a path may hold what else breaks lines
            size, mtime, ctime, digest, path = line.split("\t", 4)
            known[path] = (int(size), int(mtime), int(ctime)), digest
    except (OSError, ValueError):
        return {}
    return known


def _write_table(
    table: Path,
    known: dict[str, tuple[_Times, str]],
    times: dict[str, _Times | None],
    digests: dict[str, str],
) -> None:
    """Add the digests of files that have not just been written to the known ones."""
    latest = time.time_ns() - _SETTLED_NS
    merged = dict(known)
    for path, found in times.items():
        merged.pop(path, None)
        if found and max(found[1:]) < latest and digests[path] != MISSING and "\n" not in path:
            merged[path] = found, digests[path]
    with replace_file(table) as stream:
        for path, (found, digest) in merged.items():
            stream.write("\t".join([*map(str, found), digest, path]) + "\n")
