"""Open audio under a header that says how much of it is there.

Below the audio reader: libsndfile believes the lengths in headers, and programs that write to a
pipe cannot know them. `header_sizes.py`, `header_flac.py` and `header_mp3.py` know the formats.
"""

from __future__ import annotations

from typing import BinaryIO

from .header_flac import count_flac
from .header_mp3 import count_mp3
from .header_sizes import count_sized
from .splicing import bytes_at, spliced

_ID3_HEADER = 10  # bytes; the size that it says does not count them
_ID3_SHIFTS = (21, 14, 7, 0)  # of its four digits of 7 bits


def with_true_length(stream: BinaryIO) -> tuple[BinaryIO, bool]:
    """The file at its beginning, under a corrected header where it needs one; and whether it did.

    Raises:
        HeaderError: the file is shorter than its header promises, or its length cannot be found.
    """
    begin = _behind_id3(stream)
    correction = count_sized(stream, begin) or count_flac(stream, begin) or count_mp3(stream, begin)
    stream.seek(0)
    return (spliced(stream, correction), True) if correction else (stream, False)


def _behind_id3(stream: BinaryIO) -> int:
    """Where the audio begins behind ID3v2 tags."""
    begin = 0
    while (head := bytes_at(stream, begin, _ID3_HEADER))[:3] == b"ID3" and len(head) == _ID3_HEADER:
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:], _ID3_SHIFTS, strict=True)
        )
        begin += _ID3_HEADER + size
    return begin
