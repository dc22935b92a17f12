"""Read a file with another head than its own, and helpers for all formats.

Below the modules of this folder, one per format.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from ..views import View

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FARTHEST = 2**62  # bytes; operating systems refuse to seek further
_ID3V1 = 128  # bytes of a tag at the end of a file


class HeaderError(ValueError):
    """A file holds less than its header promises, or cannot be counted; the message says why."""


@dataclass(frozen=True)
class Correction:
    """A head to read in place of the first `replaced` bytes of a file."""

    head: bytes
    replaced: int


class _Spliced(View):
    """A file whose first bytes are replaced."""

    def __init__(self, source: BinaryIO, correction: Correction) -> None:
        self._head = correction.head
        self._shift = correction.replaced - len(correction.head)
        super().__init__(source, source.seek(0, os.SEEK_END) - self._shift)

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        part = self._head[self._position : self._position + len(view)]
        if not part:
            self._source.seek(self._position + self._shift)
            part = self._source.read(len(view))
        view[: len(part)] = part
        self._position += len(part)
        return len(part)


def spliced(source: BinaryIO, correction: Correction) -> BinaryIO:
    """The file under the corrected head; closing it closes the file."""
    return _Spliced(source, correction).buffered()


def bytes_at(stream: BinaryIO, position: int, count: int) -> bytes:
    """Up to `count` bytes from any position that a header may name."""
    if position > _FARTHEST:
        return b""
    stream.seek(position)
    return stream.read(count)


def end_of_audio(stream: BinaryIO) -> int:
    """Where the file ends, without an ID3v1 tag."""
    end = stream.seek(0, os.SEEK_END)
    return end - _ID3V1 if bytes_at(stream, max(0, end - _ID3V1), 3) == b"TAG" else end
