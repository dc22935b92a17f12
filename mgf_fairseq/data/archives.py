"""Files stored uncompressed in a .zip or .tar, opened in place by their byte offset.

Below the audio reader, so that a crop is read by seeking inside the archive; `mgf shard` writes
such archives, stock fairseq reads the same offsets.
"""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from .views import View

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class MemberError(ValueError):
    """The requested bytes are not in the archive, or it is not a file."""


class _Member(View):
    """A part of an open file as a file of its own."""

    def __init__(self, archive: io.FileIO, start: int, length: int) -> None:
        super().__init__(archive, length)
        self._archive, self._start = archive, start

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._length - self._position)]
        self._archive.seek(self._start + self._position)
        count = self._archive.readinto(view) or 0
        self._position += count
        return count


def open_regular(path: str) -> io.FileIO:
    """Open a file, but not a pipe or device, which could block or never end.

    Raises:
        MemberError: it is one.
        OSError: it cannot be opened.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # to open a pipe waits for its other end

    file = io.FileIO(path, opener=opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MemberError("is a pipe or a device, not a regular file; remove its line")
    return file


def open_member(path: str, start: int, length: int) -> BinaryIO:
    """Open the `length` bytes from `start` on of the archive at `path`, as a file.

    Raises:
        MemberError: the archive ends before, or it is not a file.
        OSError: it cannot be opened.
    """
    archive = open_regular(path)
    size = archive.seek(0, os.SEEK_END)
    if start + length > size:
        archive.close()
        raise MemberError(
            f"the archive ends at byte {size}, before the {length} bytes from {start} on; fetch it "
            "again, or make it and its manifest anew with `mgf shard`"
        )
    return _Member(archive, start, length).buffered()
