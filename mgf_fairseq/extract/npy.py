"""A .npy file that grows by rows, and resumes at any row count after a kill.

The feature store streams into it, so that features never have to fit into memory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 128  # room for any shape, so that the final header fits over the first one


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Header of format 1.0 (numpy.lib.format), padded to _HEADER_BYTES."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{text:<{length - 1}}\n".encode()


class GrowingArray:
    """An array on disk of shape (rows, *tail); `close` writes the row count into its header."""

    def __init__(self, path: Path, tail: tuple[int, ...], dtype: str, rows: int = 0) -> None:
        """Open the file with its first `rows` rows, which must be there; drop what follows.

        Raises:
            OSError: the file holds fewer rows.
        """
        self.dtype, self.tail, self.rows = np.dtype(dtype), tail, rows
        self._file = open(path, "r+b" if rows else "w+b")  # noqa: SIM115 (closed by close)
        if not rows:
            self._file.write(_header((0, *tail), self.dtype))
        end = _HEADER_BYTES + rows * self.dtype.itemsize * int(np.prod(tail, dtype=np.int64))
        if self._file.seek(0, os.SEEK_END) < end:
            self._file.close()
            raise OSError(f"{path}: damaged, fewer than {rows} rows; remove {path.parent}")
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Append (n, *tail). Raises ValueError for another tail or dtype."""
        if values.shape[1:] != self.tail or values.dtype != self.dtype:
            raise ValueError(f"{values.dtype} {values.shape} does not fit {self.dtype} {self.tail}")
        self._file.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

    def sync(self) -> None:
        """Wait until what was appended is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the final header and close the file."""
        self._file.seek(0)
        self._file.write(_header((self.rows, *self.tail), self.dtype))
        self.sync()
        self._file.close()
