"""Read-only views of an open file: positions of their own over the bytes of another file.

Below `archives.py` (a part of a file) and `headers/splicing.py` (a file with another head).
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO, cast

_BUFFER = 1 << 15  # few reads per crop: each may be a request to a server


class View(io.RawIOBase):
    """Seeking within `length` bytes; a subclass reads them. Closing it closes the source."""

    def __init__(self, source: BinaryIO | io.FileIO, length: int) -> None:
        self._source, self._length, self._position = source, length, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position in the view, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, not before the first byte; returns the new position in bytes."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def close(self) -> None:
        """Close the view and its source."""
        self._source.close()
        super().close()

    def buffered(self) -> BinaryIO:
        """The view as a buffered binary file."""
        return cast(BinaryIO, io.BufferedReader(self, _BUFFER))
