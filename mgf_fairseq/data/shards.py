"""Pack the files of a prepared folder into few large archives, and rewrite its manifests to match.

`mgf shard`, between `mgf prepare` and training on a file system that is slow with small files; the
archives are fairseq's stored zips.
"""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .manifest import Entry, Manifest, Stretch, parse_entry, read_manifest, write_manifest
from .threads import ordered_map

Progress = Callable[[str, float, float], object]  # (what is being done, done, of how much)

_BLOCK = 1 << 20
_THREADS = 8
_EXAMPLES = 3
# Name and extra field of a file in a zip follow a header of 30 bytes that ends with their lengths.
_HEADER_BYTES, _LENGTHS_AT = 30, 26


class ShardError(ValueError):
    """A folder cannot be packed; the message holds the mend."""


@dataclass(frozen=True)
class ShardOptions:
    """What `mgf shard` is asked to do."""

    data: Path
    dest: Path
    shard_bytes: int = 10**9  # of audio per archive; a larger file gets one of its own

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
    size: int  # bytes of audio
    manifests: list[str]
    copied: list[str]  # labels and whatever else lies beside the manifests
    notes: list[str]


@dataclass(frozen=True)
class _Plan:
    """Which file goes where; files are numbered in the order of the manifests."""

    paths: list[str]
    sizes: list[int]
    names: list[str]  # inside the archives
    bounds: list[int]  # shard n holds the files from bounds[n] to bounds[n + 1]

    def shard(self, number: int) -> range:
        return range(self.bounds[number], self.bounds[number + 1])

    @property
    def num_shards(self) -> int:
        return len(self.bounds) - 1


def shard(options: ShardOptions, progress: Progress | None = None) -> ShardSummary:
    """Write `shard-00000.zip`, ... and the manifests of `options.data` over them into `dest`.

    Each file is stored once, whatever manifests and segments name it. A shard appears when it is
    complete and the manifests after all shards, so a run that was cut off leaves nothing half done
    behind, and the same call goes on where it was.

    Raises:
        ShardError: files are missing or packed already, change while they are read, or the disk
            is too small.
        ManifestError: a manifest cannot be used.
    """
    tell = progress or (lambda what, done, total: None)
    sources = sorted(options.data.glob("*.tsv"))
    if not sources:
        raise ShardError(f"{options.data}: no .tsv manifest here; mgf prepare writes them")
    manifests = {path.name: read_manifest(path) for path in sources}
    plan = _plan(manifests, options.shard_bytes, tell)
    options.dest.mkdir(parents=True, exist_ok=True)
    done = [_is_whole(_shard_path(options.dest, n), plan, n) for n in range(plan.num_shards)]
    _require_space(options.dest, plan, done)
    if not all(done):
        for name in manifests:  # those of an earlier run would point into the shards to come
            (options.dest / name).unlink(missing_ok=True)
    _write_shards(options.dest, plan, done, tell)
    _write_manifests(options.dest, manifests, plan)
    return ShardSummary(
        plan.num_shards,
        sum(done),
        len(plan.paths),
        sum(plan.sizes),
        list(manifests),
        _copy_others(options),
        _stale(options.dest, manifests, plan),
    )


def _plan(manifests: dict[str, Manifest], shard_bytes: int, tell: Progress) -> _Plan:
    """Number the files of all manifests, look at their sizes and deal them to shards in order."""
    names: dict[str, str] = {}  # path -> name in the archive
    taken: set[str] = set()
    for tsv, manifest in manifests.items():
        root = f"{manifest.root}{os.sep}"
        for row, entry in enumerate(_entries(manifest)):
            if entry.in_zip:
                raise ShardError(
                    f"{tsv} line {row + 2} ({manifest.paths[row]}) lies in an archive already: "
                    "give the folder that `mgf prepare` wrote"
                )
            if entry.path not in names:
                name = os.path.normpath(entry.path.removeprefix(root)).lstrip(os.sep)
                if name in taken:  # of another root
                    name = f"{len(taken)}/{name}"
                taken.add(name)
                names[entry.path] = name
    sizes = _sizes(list(names), tell)
    bounds, filled = [0], 0
    for number, size in enumerate(sizes):
        if filled and filled + size > shard_bytes:
            bounds.append(number)
            filled = 0
        filled += size
    return _Plan(list(names), sizes, list(names.values()), [*bounds, len(sizes)])


def _entries(manifest: Manifest) -> Iterator[Entry]:
    return (parse_entry(manifest.entry(row)) for row in range(len(manifest)))


def _sizes(paths: Sequence[str], tell: Progress) -> list[int]:
    """Bytes of each file. Raises ShardError where some are missing."""

    def size(path: str) -> int:
        try:
            return os.stat(path).st_size
        except OSError:
            return -1

    sizes = []
    for count, found in enumerate(ordered_map(size, paths, _THREADS), 1):
        sizes.append(found)
        tell("look", count, len(paths))
    missing = [path for path, found in zip(paths, sizes, strict=True) if found < 0]
    if missing:
        raise ShardError(
            f"{len(missing)} of {len(paths)} files cannot be found, such as "
            f"{', '.join(missing[:_EXAMPLES])}: `mgf check` lists them, `mgf prepare` makes the "
            "manifests anew"
        )
    return sizes


def _shard_path(dest: Path, number: int) -> Path:
    return dest / f"shard-{number:05d}.zip"


def _info(path: str, name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    info.compress_type = zipfile.ZIP_STORED
    year, month, day, hour, minute, second = info.date_time
    info.date_time = year, month, day, hour, minute, second // 2 * 2  # as the zip will say
    return info


def _is_whole(target: Path, plan: _Plan, number: int) -> bool:
    """Whether the archive of an earlier run holds what the plan says: names, sizes and dates."""
    try:
        with zipfile.ZipFile(target) as archive:
            found = [(i.filename, i.file_size, i.date_time) for i in archive.infolist()]
    except (OSError, zipfile.BadZipFile):
        return False
    wanted = [_info(plan.paths[file], plan.names[file]) for file in plan.shard(number)]
    return found == [(i.filename, i.file_size, i.date_time) for i in wanted]


def _require_space(dest: Path, plan: _Plan, done: Sequence[bool]) -> None:
    needed = sum(
        sum(plan.sizes[file] for file in plan.shard(number))
        for number, whole in enumerate(done)
        if not whole
    )
    free = shutil.disk_usage(dest).free
    if needed > free:
        raise ShardError(
            f"{dest} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: make room, "
            "or give another --dest"
        )


def _write_shards(dest: Path, plan: _Plan, done: Sequence[bool], tell: Progress) -> None:
    total = sum(plan.sizes) / 1e6
    written = 0.0
    for number, whole in enumerate(done):
        if whole:
            written += sum(plan.sizes[file] for file in plan.shard(number)) / 1e6
            continue
        with _replace_archive(_shard_path(dest, number)) as archive:
            for file in plan.shard(number):
                _store(archive, plan.paths[file], plan.names[file], plan.sizes[file])
                written += plan.sizes[file] / 1e6
                tell("pack", written, total)


@contextmanager
def _replace_archive(target: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive that appears under its name when it is complete and on the disk."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                yield archive
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _store(archive: zipfile.ZipFile, path: str, name: str, size: int) -> None:
    try:
        info = _info(path, name)
        with open(path, "rb") as source, archive.open(info, "w") as target:
            shutil.copyfileobj(source, target, _BLOCK)
            stored = source.tell()
    except FileNotFoundError:
        stored = -1
    if stored != size:
        raise ShardError(f"{path} has changed while it was packed: run the same command again")


def _write_manifests(dest: Path, manifests: dict[str, Manifest], plan: _Plan) -> None:
    members = {
        path: f"{_shard_path(dest, number).name}:{member.start}:{member.length}"
        for number in range(plan.num_shards)
        for path, member in zip(
            (plan.paths[file] for file in plan.shard(number)),
            _members(_shard_path(dest, number)),
            strict=True,
        )
    }
    for name, manifest in manifests.items():
        rows = (
            (":".join([members[entry.path], *map(str, entry.segment or ())]), int(count))
            for entry, count in zip(_entries(manifest), manifest.num_samples, strict=True)
        )
        write_manifest(dest / name, dest.resolve(), rows)


def _members(path: Path) -> Iterator[Stretch]:
    """Where each file of an archive lies in it, in the archive's order."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as stream:
        for info in archive.infolist():
            stream.seek(info.header_offset)
            name, extra = struct.unpack_from("<HH", stream.read(_HEADER_BYTES), _LENGTHS_AT)
            yield Stretch(info.header_offset + _HEADER_BYTES + name + extra, info.file_size)


def _copy_others(options: ShardOptions) -> list[str]:
    """Copy labels, dictionaries and all other files that lie beside the manifests."""
    copied = []
    for path in sorted(options.data.iterdir()):
        if path.is_file() and path.suffix != ".tsv" and not path.name.startswith("."):
            temporary = options.dest / f".{path.name}.{os.getpid()}.tmp"
            shutil.copy2(path, temporary)
            os.replace(temporary, options.dest / path.name)
            copied.append(path.name)
    return copied


def _stale(dest: Path, manifests: dict[str, Manifest], plan: _Plan) -> list[str]:
    """What an earlier run has left in `dest` that does not belong to this one."""
    ours = {*manifests, *(_shard_path(dest, number).name for number in range(plan.num_shards))}
    found = [path.name for pattern in ("shard-*.zip", "*.tsv") for path in dest.glob(pattern)]
    others = sorted(set(found) - ours)
    return [f"{', '.join(others)} in {dest}: of an earlier run; remove it"] if others else []
