"""A file read under another head than its own, and what the looks at headers share.

Below `headers.py`, which says what each format needs.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 15
_FARTHEST = 2**62  # bytes; operating systems refuse to seek further
_ID3V1 = 128  # bytes of a tag at the end of a file


class HeaderError(ValueError):
    """A file holds less than its header promises, or cannot be counted; the message says why."""


@dataclass(frozen=True)
class Correction:
    """A head to read in place of the first `replaced` bytes of a file."""

    head: bytes
    replaced: int


class _Spliced(io.RawIOBase):
    """A file whose first bytes are others."""

    def __init__(self, source: BinaryIO, correction: Correction) -> None:
        self._source, self._head = source, correction.head
        self._shift = correction.replaced - len(correction.head)
        self._length = source.seek(0, os.SEEK_END) - self._shift
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        part = self._head[self._position : self._position + len(view)]
        if not part:
            self._source.seek(self._position + self._shift)
            part = self._source.read(len(view))
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        self._source.close()
        super().close()


def spliced(source: BinaryIO, correction: Correction) -> BinaryIO:
    """The file under the corrected head; closing it closes the file."""
    return cast(BinaryIO, io.BufferedReader(_Spliced(source, correction), _BUFFER))


def bytes_at(stream: BinaryIO, position: int, count: int) -> bytes:
    """Up to `count` bytes from a position on, which a header may put anywhere."""
    if position > _FARTHEST:
        return b""
    stream.seek(position)
    return stream.read(count)


def end_of_audio(stream: BinaryIO) -> int:
    """Where the file ends, without an ID3v1 tag."""
    end = stream.seek(0, os.SEEK_END)
    return end - _ID3V1 if bytes_at(stream, max(0, end - _ID3V1), 3) == b"TAG" else end
