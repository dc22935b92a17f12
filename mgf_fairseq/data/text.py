"""Read UTF-8 text files, line by line as fairseq counts lines.

Label files, transcripts and tables are read through these functions.
"""

from __future__ import annotations

from pathlib import Path


class TextError(ValueError):
    """A file that should hold text holds something else; the message names the fix."""


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """A UTF-8 file, with or without a byte order mark."""
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError:
        raise _not_text(path) from None


def read_lines(path: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a UTF-8 file as iterating over it gives them, which is what fairseq counts.

    `str.splitlines` breaks at more: at U+2028 or U+0085 within a transcript, for instance.
    """
    lines = read_text(path, encoding).split("\n")
    return lines if lines[-1] else lines[:-1]


def _not_text(path: Path) -> TextError:
    return TextError(f"{path} is not UTF-8 text: convert it, for instance with iconv")
