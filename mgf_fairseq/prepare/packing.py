"""Write one stored zip whole, and find where its files lie in it.

Below `shards`, which decides what goes into which; archives.py reads what is written here.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ..data.audio import AudioReader
from ..data.entries import Stretch
from ..utils.atomic import replacing
from .convert import FINE_SUBTYPES, as_integers

_BLOCK = 1 << 20
# Name and extra field of a file in a zip follow a header of 30 bytes that ends with their lengths.
_HEADER_BYTES, _LENGTHS_AT = 30, 26


class ShardError(ValueError):
    """A folder cannot be packed; the message holds the mend."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be stored as it is, or a segment of one to be stored as a FLAC file."""

    path: str
    segment: Stretch | None
    name: str  # in the archive
    size: int  # bytes; of a segment only about

    def info(self) -> zipfile.ZipInfo:
        """How the archive's directory names it, dated as the file is.

        Raises OSError where the file is gone.
        """
        info = zipfile.ZipInfo.from_file(self.path, self.name, strict_timestamps=False)
        year, month, day, hour, minute, second = info.date_time
        info.date_time = year, month, day, hour, minute, second // 2 * 2  # as the zip will say
        info.compress_type = zipfile.ZIP_STORED
        return info


def is_whole(target: Path, items: Sequence[Item]) -> bool:
    """Whether an archive of an earlier run holds the items: names, dates, sizes of whole files."""
    try:
        with zipfile.ZipFile(target) as archive:
            found = archive.infolist()
        return len(found) == len(items) and all(
            (one.filename, one.date_time) == (wanted.filename, wanted.date_time)
            and (item.segment is not None or one.file_size == wanted.file_size)
            for one, item in zip(found, items, strict=True)
            if (wanted := item.info())
        )
    except (OSError, zipfile.BadZipFile):
        return False


def write_archive(target: Path, items: Sequence[Item], advance: Callable[[Item], object]) -> None:
    """Write an archive that appears under its name when it is complete and on the disk.

    Raises:
        ShardError: a file has changed since its size was asked for.
        AudioError: a segment cannot be read.
    """
    with _replace_archive(target) as archive:
        for item in items:
            try:
                if item.segment is None:
                    _store(archive, item)
                else:
                    archive.writestr(item.info(), _as_flac(item))
            except FileNotFoundError:
                raise _changed(item) from None
            advance(item)


@contextmanager
def _replace_archive(target: Path) -> Iterator[zipfile.ZipFile]:
    with replacing(target) as temporary, open(temporary, "wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            yield archive
        stream.flush()
        os.fsync(stream.fileno())


def _store(archive: zipfile.ZipFile, item: Item) -> None:
    with open(item.path, "rb") as source, archive.open(item.info(), "w") as target:
        shutil.copyfileobj(source, target, _BLOCK)
        if source.tell() != item.size:
            raise _changed(item)


def _changed(item: Item) -> ShardError:
    return ShardError(f"{item.path} has changed while it was packed: run the same command again")


def _as_flac(item: Item) -> bytes:
    """Encode a segment, mono, at its own rate: 24 bit where the file has more than 16, else 16."""
    entry = ":".join([item.path, *map(str, item.segment or ())])
    with AudioReader(entry, 0) as reader:
        bits = 24 if reader.subtype in FINE_SUBTYPES else 16
        waveform, rate = reader.read(), reader.native_sample_rate
    stream = io.BytesIO()
    samples = as_integers(waveform, bits)
    soundfile.write(stream, samples, rate, format="FLAC", subtype=f"PCM_{bits}")
    return stream.getvalue()


def members(path: Path) -> Iterator[Stretch]:
    """Where each file of an archive lies in it, in the archive's order."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as stream:
        for info in archive.infolist():
            stream.seek(info.header_offset)
            name, extra = struct.unpack_from("<HH", stream.read(_HEADER_BYTES), _LENGTHS_AT)
            yield Stretch(info.header_offset + _HEADER_BYTES + name + extra, info.file_size)
