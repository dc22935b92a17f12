"""Ogg, which counts what is there: whether its last page is whole, and whether it is one recording.

Beside the looks of `headers.py`, for `mgf prepare` and `mgf check`; reading does not need it.
"""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from .splicing import bytes_at

_PAGE_HEADER = 27  # bytes, before the table of the page's segments
_LONGEST_PAGE = _PAGE_HEADER + 255 + 255 * 255
_MOST_STREAMS = 100  # to be looked at, at the beginning
_BEGINS = 2  # flag of a page that begins a stream
_BEGINNING = re.compile(rb"OggS\0[\2\3\6\7]", re.S)  # of such a page


def ogg_defect(stream: BinaryIO) -> str:
    """What makes an Ogg file less than it was, or an empty string; the position is kept."""
    position = stream.tell()
    try:
        return _defect(stream) if bytes_at(stream, 0, 4) == b"OggS" else ""
    finally:
        stream.seek(position)


def _defect(stream: BinaryIO) -> str:
    begun: set[bytes] = set()
    at = 0
    for _ in range(_MOST_STREAMS):
        page = bytes_at(stream, at, _PAGE_HEADER + 255)
        if len(page) < _PAGE_HEADER or not page[5] & _BEGINS:
            break
        begun.add(page[14:18])
        at += _page_length(page)
    start = max(at, stream.seek(0, os.SEEK_END) - 2 * _LONGEST_PAGE)
    tail = bytes_at(stream, start, 2 * _LONGEST_PAGE)
    last = tail.rfind(b"OggS")
    page = tail[last:]
    if last < 0 or len(page) < _PAGE_HEADER or _page_length(page) > len(page):
        return "cut short: the last page of the Ogg file is not whole"
    if page[14:18] not in begun or _BEGINNING.search(tail):  # the numbers of streams may recur
        return "holds several recordings one after another (chained Ogg): only the first is read"
    return ""


def _page_length(page: bytes) -> int:
    """Bytes of the page that begins so."""
    segments = page[26]
    table = page[_PAGE_HEADER : _PAGE_HEADER + segments]
    return _PAGE_HEADER + segments + sum(table)
