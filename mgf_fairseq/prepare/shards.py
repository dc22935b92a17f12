"""Pack the files of a prepared folder into few large archives, and rewrite its manifests to match.

`mgf shard`, between `mgf prepare` and training on a file system that is slow with small files; the
archives are fairseq's stored zips.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.entries import Entry, Stretch, parse_entry
from ..data.manifest import Manifest, read_manifest, write_manifest
from ..data.prepared import read_record, rows_digest
from ..utils.atomic import begins_with, refuse_foreign
from ..utils.progress import Progress, silent
from ..utils.threads import map_with_progress
from .own_files import is_ours, manifests_in
from .packing import Item, ShardError, is_whole, members, write_archive
from .publishing import publish, staging

_Key = tuple[str, Stretch | None]  # what is stored once: a file, or a segment of one

_THREADS = 8
_EXAMPLES = 3
_SAMPLE_BYTES = 2  # about what a sample of a segment takes; FLAC takes less


@dataclass(frozen=True)
class ShardOptions:
    """The options of `mgf shard`."""

    data: Path
    dest: Path
    shard_bytes: int = 10**9  # of audio per archive; a larger file gets one of its own
    cut: bool = False  # store segments of long recordings as files of their own

    def __post_init__(self) -> None:
        if self.shard_bytes < 1:
            raise ShardError(f"shard_bytes={self.shard_bytes}: must be at least 1")
        if self.dest.resolve() == self.data.resolve():
            raise ShardError(f"{self.dest} is the folder itself: give another --dest")


@dataclass(frozen=True)
class ShardSummary:
    """What was written."""

    shards: int
    kept: int  # of the shards: whole since an earlier run
    files: int
    size: int  # bytes of all shards
    manifests: list[str]
    copied: list[str]  # labels and whatever else lies beside the manifests
    notes: list[str]


def shard(options: ShardOptions, progress: Progress = silent) -> ShardSummary:
    """Write `shard-00000.zip`, ... and the manifests of `options.data` over them into `dest`.

    Each file is stored once, whatever manifests and segments name it. A shard appears when it is
    complete and the manifests with their labels after all shards, so an interrupted run leaves
    nothing half written, and the same call resumes it.

    Raises:
        ShardError: files are missing or packed already, change while they are read, or the disk
            is too small.
        ManifestError: a manifest cannot be used.
        AudioError: a segment cannot be cut.
        ForeignFileError: `dest` holds a file of such a name that no command of ours wrote.
    """
    sources = manifests_in(options.data)
    if not sources:
        raise ShardError(f"{options.data}: no .tsv manifest here; mgf prepare writes them")
    manifests = {path.name: read_manifest(path) for path in sources}
    items = _items(manifests, options.cut, progress)
    shards = {
        options.dest / f"shard-{number:05d}.zip": part
        for number, part in enumerate(_deal(list(items.values()), options.shard_bytes))
    }
    others = _others(options.data)
    with staging(options.dest) as staged:
        _require_own(options.dest, list(manifests), [path.name for path in others], list(shards))
        todo = {path: part for path, part in shards.items() if not is_whole(path, part)}
        _require_space(options.dest, todo)
        if todo:
            for name in manifests:  # those of an earlier run would point into the shards to come
                (options.dest / name).unlink(missing_ok=True)
        _write_shards(todo, progress)
        rows = _write_manifests(staged, options, manifests, items, shards)
        for path in others:
            shutil.copy2(path, staged / path.name)
        source = read_record(options.data)
        publish(staged, options.dest, rows, source.classes if source else [])
    return ShardSummary(
        len(shards),
        len(shards) - len(todo),
        len(items),
        sum(path.stat().st_size for path in shards),
        list(manifests),
        [path.name for path in others],
        _stale(options.dest, {*manifests, *(path.name for path in shards)}),
    )


def _others(data: Path) -> list[Path]:
    """Labels, dictionaries and all other files that lie beside the manifests."""
    return [
        path
        for path in sorted(data.iterdir())
        if path.is_file() and path.suffix != ".tsv" and not path.name.startswith(".")
    ]


def _require_own(
    dest: Path, manifests: Sequence[str], others: Sequence[str], shards: Sequence[Path]
) -> None:
    """Raise ForeignFileError where a file would be replaced that no command of ours wrote."""
    record = read_record(dest)
    refuse_foreign((dest / name for name in (*manifests, *others)), lambda p: is_ours(p, record))
    refuse_foreign(shards, begins_with("PK"))  # zips, damaged ones too


def _key(entry: Entry, cut: bool) -> _Key:
    return entry.path, entry.segment if cut else None


def _entries(manifest: Manifest) -> Iterator[Entry]:
    return (parse_entry(manifest.entry(row)) for row in range(len(manifest)))


def _items(manifests: dict[str, Manifest], cut: bool, progress: Progress) -> dict[_Key, Item]:
    """What is to be stored, in the order of the manifests, by what rows ask for."""
    names: dict[_Key, str] = {}
    taken: set[str] = set()
    for tsv, manifest in manifests.items():
        for row, entry in enumerate(_entries(manifest)):
            if entry.archived:
                raise ShardError(
                    f"{tsv} line {row + 2} ({manifest.paths[row]}) lies in an archive already: "
                    "give the folder that `mgf prepare` wrote"
                )
            key = _key(entry, cut)
            if key not in names:
                plain = name = _name(key, f"{manifest.root}{os.sep}")
                number = len(taken)
                while name in taken:  # of another root
                    name, number = f"{number}/{plain}", number + 1
                taken.add(name)
                names[key] = name
    sizes = _sizes(list(dict.fromkeys(path for path, _ in names)), progress)
    return {
        key: Item(*key, name, key[1].length * _SAMPLE_BYTES if key[1] else sizes[key[0]])
        for key, name in names.items()
    }


def _name(key: _Key, root: str) -> str:
    """What a file is called in its archive: its path below the root."""
    path, segment = key
    name = os.path.normpath(path.removeprefix(root)).lstrip(os.sep)
    if segment is None:
        return name
    return f"{os.path.splitext(name)[0]}_{segment.start}_{segment.length}.flac"


def _sizes(paths: Sequence[str], progress: Progress) -> dict[str, int]:
    """Bytes of each file. Raises ShardError where some are missing."""

    def size(path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError:
            return -1

    sizes = dict(map_with_progress(size, paths, _THREADS, "look", progress))
    missing = [path for path, found in sizes.items() if found < 0]
    if missing:
        raise ShardError(
            f"{len(missing)} of {len(paths)} files cannot be found, such as "
            f"{', '.join(missing[:_EXAMPLES])}: `mgf check` lists them, `mgf prepare` makes the "
            "manifests again"
        )
    return sizes


def _deal(items: Sequence[Item], shard_bytes: int) -> Iterator[list[Item]]:
    """Fill one archive after the other, in order."""
    part: list[Item] = []
    filled = 0
    for item in items:
        if part and filled + item.size > shard_bytes:
            yield part
            part, filled = [], 0
        part.append(item)
        filled += item.size
    yield part


def _require_space(dest: Path, todo: dict[Path, list[Item]]) -> None:
    needed = sum(item.size for part in todo.values() for item in part)
    free = shutil.disk_usage(dest).free
    if needed > free:
        raise ShardError(
            f"{dest} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: make room, "
            "or give another --dest"
        )


def _write_shards(todo: dict[Path, list[Item]], progress: Progress) -> None:
    total = sum(item.size for part in todo.values() for item in part)
    done = 0

    def advance(item: Item) -> None:
        nonlocal done
        done += item.size
        progress("pack", done / 1e6, total / 1e6)

    for path, part in todo.items():
        write_archive(path, part, advance)


def _write_manifests(
    staged: Path,
    options: ShardOptions,
    manifests: dict[str, Manifest],
    items: dict[_Key, Item],
    shards: dict[Path, list[Item]],
) -> dict[str, str]:
    """Write the manifests over the shards; returns the digest of the rows of each split."""
    stored = [f"{path.name}:{start}:{size}" for path in shards for start, size in members(path)]
    places = dict(zip(items, stored, strict=True))
    digests = {}
    for name, manifest in manifests.items():
        names = [_rewritten(entry, places, options.cut) for entry in _entries(manifest)]
        counts = manifest.num_samples.tolist()
        write_manifest(staged / name, options.dest.resolve(), zip(names, counts, strict=True))
        digests[Path(name).stem] = rows_digest(names, counts)
    return digests


def _rewritten(entry: Entry, places: dict[_Key, str], cut: bool) -> str:
    segment = () if cut or entry.segment is None else entry.segment
    return ":".join([places[_key(entry, cut)], *map(str, segment)])


def _stale(dest: Path, ours: set[str]) -> list[str]:
    """Files of an earlier run in `dest` that do not belong to this one."""
    found = {path.name for pattern in ("shard-*.zip", "*.tsv") for path in dest.glob(pattern)}
    others = sorted(found - ours)
    return [f"{', '.join(others)} in {dest}: of an earlier run; remove it"] if others else []
