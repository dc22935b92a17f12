"""FLAC of unknown length: the last frame says where it ends.

One of the looks of `headers.py`. Follows RFC 9639 (the FLAC format), sections 8.2 and 9.
"""

from __future__ import annotations

from typing import BinaryIO

from .splicing import Correction, HeaderError, bytes_at, end_of_audio

_TOTAL_AT = 21  # in the file, behind its mark and the head of STREAMINFO: 4 bits, then 4 bytes
_FRAME_HEADER = 16  # bytes at most
_BLOCK_SIZES = {  # samples, by the code in a frame's header
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 256 << code - 8 for code in range(8, 16)},
}
_FIX = "write it again, for instance with `ffmpeg -i OLD NEW.flac`"


def count_flac(stream: BinaryIO, begin: int) -> Correction | None:
    """A head with the true length, where the file's own is 0 (unknown).

    Raises:
        HeaderError: the file does not end with a whole frame.
    """
    info = bytes_at(stream, begin, 42)
    if info[:4] != b"fLaC" or len(info) < 42 or info[_TOTAL_AT] & 0xF or any(info[22:26]):
        return None
    end = end_of_audio(stream)
    total = _last_sample(stream, begin, end, info)
    if _first_sample(stream, begin, info) != 0:
        raise HeaderError(f"begins in mid-stream and does not say how long it is; {_FIX}")
    if total >= 2**36:
        raise HeaderError("is longer than a FLAC file can be")
    head = bytearray(info)
    head[_TOTAL_AT] |= total >> 32
    head[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return Correction(bytes_at(stream, 0, begin) + bytes(head), begin + len(head))


def _last_sample(stream: BinaryIO, begin: int, end: int, info: bytes) -> int:
    """The sample behind the last whole frame, which must end where the file does."""
    longest = int.from_bytes(info[10:12], "big")
    channels, bits = (info[20] >> 1 & 7) + 1, ((info[20] & 1) << 4 | info[21] >> 4) + 1
    # A frame is no longer than its samples as they are, or little.
    reach = longest * channels * (bits + 7 >> 3) + 1024
    start = max(begin + 42, end - reach)
    tail = bytes_at(stream, start, end - start)
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        found = _frame(tail[place : place + _FRAME_HEADER], info)
        if found and _crc(tail[place:-2], 0x8005, 16) == int.from_bytes(tail[-2:], "big"):
            return sum(found)
    raise HeaderError(
        "does not say how long it is, and does not end with a whole frame: cut short; fetch the "
        f"file again, or {_FIX}"
    )


def _first_sample(stream: BinaryIO, begin: int, info: bytes) -> int:
    """The number of the first sample of the first frame, behind the metadata; -1: no frame."""
    position = begin + 4
    while len(head := bytes_at(stream, position, 4)) == 4:
        position += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:  # the last block of metadata
            break
    found = _frame(bytes_at(stream, position, _FRAME_HEADER), info)
    return found[0] if found else -1


def _frame(data: bytes, info: bytes) -> tuple[int, int] | None:
    """First sample and number of samples of the frame whose header this is, or None."""
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xFE != 0xF8:
        return None
    number, position = _coded_number(data)
    code = data[2] >> 4
    more = {6: 1, 7: 2}.get(code, 0)  # bytes of a block size that follows the number
    samples = _BLOCK_SIZES.get(code) or int.from_bytes(data[position : position + more], "big") + 1
    position += more + {12: 1, 13: 2, 14: 2}.get(data[2] & 0xF, 0)  # and of a rate
    if number < 0 or code == 0 or position >= len(data):
        return None
    if _crc(data[:position], 0x07, 8) != data[position]:
        return None
    variable = data[1] & 1  # then the number is a sample's, else the frame's
    return number * (1 if variable else int.from_bytes(info[8:10], "big")), samples


def _coded_number(data: bytes) -> tuple[int, int]:
    """The number that is coded like a letter in UTF-8 from byte 4 on (-1: none), and its end."""
    first = data[4]
    if first < 0x80:
        return first, 5
    extra = 7 - (first ^ 0xFF).bit_length()  # leading ones, less one
    if extra < 1 or len(data) < 5 + extra:
        return -1, 5
    number = first & (0x3F >> extra)
    for byte in data[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    return number, 5 + extra


def _crc(data: bytes, polynomial: int, width: int) -> int:
    """Checksum, most significant bit first, from 0."""
    mask = (1 << width) - 1
    table = []
    for value in range(256):
        value <<= width - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> width - 1 & 1 else 0)) & mask
        table.append(value)
    checksum = 0
    for byte in data:
        checksum = (checksum << 8 & mask) ^ table[checksum >> width - 8 ^ byte]
    return checksum
