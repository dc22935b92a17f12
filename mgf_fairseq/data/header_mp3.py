"""MP3 without a count of its frames, or with a wrong one: walk through the frames and count them.

One of the looks of `headers.py`. Without a Xing or Info frame libsndfile takes the bit rate of the
first frame for that of all, so the length that it says is a guess; here it gets such a frame.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

from .splicing import Correction, HeaderError, bytes_at, end_of_audio

_BLOCK = 1 << 20
_LONGEST = 8192  # bytes, more than two frames
_KBPS = (  # layer III, by the code in the header; MPEG 1, then MPEG 2 and 2.5
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)  # of MPEG 1; half of it for MPEG 2, a quarter for 2.5
_FRAMES, _BYTES = 1, 2  # flags of the fields in a Xing frame
_TOLERANCE = 2048  # bytes: some programs do not count the frame that says it


class _Frame(NamedTuple):
    """What the 4 bytes of a frame's header say."""

    length: int  # bytes
    kind: tuple[int, int]  # version and rate, the same in all frames of a stream
    side: int  # bytes between the header and where a Xing mark would be


def _frame(data: bytes, at: int = 0) -> _Frame | None:
    """The frame of layer III whose header is at a place, or None."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    version, code, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or code in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = data[at + 2] >> 1 & 1
    length = (144000 if first else 72000) * _KBPS[0 if first else 1][code] // hertz + padding
    mono = data[at + 3] >> 6 == 3
    return _Frame(length, (version, rate), (17 if mono else 32) if first else (9 if mono else 17))


def count_mp3(stream: BinaryIO, begin: int) -> Correction | None:
    """A head with a true count of frames, where the file has none or a wrong one.

    Raises:
        HeaderError: the file holds fewer frames than it says.
    """
    first = bytes_at(stream, begin, 4)
    frame = _frame(first)
    if frame is None or _frame(bytes_at(stream, begin + frame.length, 4)) is None:
        return None
    end = end_of_audio(stream)
    frames, size, marked = _promised(bytes_at(stream, begin, frame.length), frame)
    if frames and size and 0 <= end - begin - size <= _TOLERANCE:
        return None
    start = begin + frame.length if marked else begin
    counted = _count(stream, start, end, frame)
    if frames and counted < frames - 1:
        raise HeaderError(
            f"truncated, its header promises {frames} frames and {counted} are there; fetch the "
            "file again"
        )
    if counted == frames:
        return None
    return Correction(_info_frame(first, counted), start)


def _promised(data: bytes, frame: _Frame) -> tuple[int, int, bool]:
    """Frames and bytes that the first frame promises (or 0), and whether it holds no sound."""
    mark = 4 + frame.side
    if data[36:40] == b"VBRI":  # which libsndfile does not read
        return 0, 0, True
    if data[mark : mark + 4] not in (b"Xing", b"Info") or len(data) < mark + 16:
        return 0, 0, False
    flags, *fields = struct.unpack_from(">3I", data, mark + 4)
    frames = fields.pop(0) if flags & _FRAMES else 0
    return frames, fields[0] if flags & _BYTES else 0, True


def _count(stream: BinaryIO, position: int, end: int, like: _Frame) -> int:
    """Walk through the frames up to `end`; what lies between them is passed over."""
    count, block, block_at = 0, b"", position
    lost = False  # then a frame is one only if another follows
    while position + 4 <= end:
        if position + _LONGEST > block_at + len(block):
            block, block_at = bytes_at(stream, position, _BLOCK), position
        at = position - block_at
        frame = _frame(block, at)
        if (
            frame is None
            or frame.kind != like.kind
            or (lost and not _frame(block, at + frame.length))
        ):
            found = block.find(b"\xff", at + 1)
            position, lost = block_at + (found if found >= 0 else len(block)), True
        else:
            position, lost = position + frame.length, False
            count += position <= end
    return count


def _info_frame(first: bytes, frames: int) -> bytes:
    """A frame without sound that says how many follow, in the form of the first of these."""
    for code in range(1, 15):
        # Without checksum and padding, at the lowest bit rate whose frame has room.
        header = bytes([first[0], first[1] | 1, code << 4 | first[2] & 0x0C, first[3]])
        frame = _frame(header)
        if frame is not None and frame.length >= 4 + frame.side + 12:
            mark = struct.pack(">4sII", b"Info", _FRAMES, frames)
            return (header + bytes(frame.side) + mark).ljust(frame.length, b"\0")
    raise HeaderError("has frames that are too small to say how many there are; convert it")
