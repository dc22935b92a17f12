"""Formats whose header states the bytes of samples: WAV, RF64, W64, AIFF, AU, CAF, NIST.

For `with_true_length`. A size is unknown where the program wrote to a pipe (0, or a value
near the largest), and stale where samples follow behind the promised ones.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from .splicing import Correction, HeaderError, bytes_at

_MOST_CHUNKS = 1000  # to be looked at: empty ones could fill a file
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # written behind the audio by music programs
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the names of W64's chunks
_DS64_SIZE_AT = 8  # in the body of ds64, behind the size of the file
_LARGEST_32 = 2**32 - 1


@dataclass(frozen=True)
class _Samples:
    """Where the samples of a file begin, and where and how their size is stored."""

    start: int
    promised: int  # bytes
    size_at: int
    form: str  # of the size, for struct
    counted: int = 0  # bytes that the size counts beside the samples
    chunks: bool = True  # whether other chunks may follow


def count_sized(stream: BinaryIO, begin: int) -> Correction | None:
    """A head with the true size, where the file's own has none. Raises HeaderError if cut short."""
    samples = _find_samples(stream) if begin == 0 else None
    if samples is None:
        return None
    end = stream.seek(0, os.SEEK_END)
    there = end - samples.start
    if there < 0:
        raise HeaderError(
            f"truncated, its header promises samples from byte {samples.start} on and the file has "
            f"{end} bytes; fetch the file again"
        )
    if _is_unknown(samples) or (samples.promised < there and _is_stale(stream, samples, there)):
        return _corrected(stream, samples, there)
    if samples.promised > there:
        # A size that counts the header too is no loss; nor is as little as that.
        if samples.promised - there <= samples.start:
            return _corrected(stream, samples, there)
        raise HeaderError(
            f"truncated, its header promises {samples.promised} bytes of samples and {there} are "
            "there; fetch the file again"
        )
    return None


def _find_samples(stream: BinaryIO) -> _Samples | None:
    head = bytes_at(stream, 0, 40)
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _in_chunks(stream, 12, "<I" if head[:4] == b"RIFF" else ">I", b"data")
    if head[:4] in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _in_rf64(stream)
    if head[:16] == _W64_RIFF:
        return _in_w64(stream)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _in_chunks(stream, 12, ">I", b"SSND", counted=8)
    if head[:4] == b"caff":
        return _in_chunks(stream, 8, ">Q", b"data", counted=4, align=1)
    if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        order = ">" if head[:4] == b".snd" else "<"
        start, size = struct.unpack(f"{order}II", head[4:12])
        return _Samples(start, size, 8, f"{order}I", chunks=False)
    return _in_nist(stream) if head[:7] == b"NIST_1A" else None


def _in_chunks(
    stream: BinaryIO, position: int, form: str, wanted: bytes, counted: int = 0, align: int = 2
) -> _Samples | None:
    """The chunk of samples among those from `position` on."""
    for _ in range(_MOST_CHUNKS):
        head = bytes_at(stream, position, 4 + struct.calcsize(form))
        if len(head) < 4 + struct.calcsize(form):
            return None
        (size,) = struct.unpack(form, head[4:])
        body = position + len(head)
        if head[:4] == wanted:
            return _Samples(body + counted, max(0, size - counted), position + 4, form, counted)
        position = body + size + -size % align
    return None


def _in_rf64(stream: BinaryIO) -> _Samples | None:
    found = _in_chunks(stream, 12, "<I", b"data")
    head = bytes_at(stream, 12, 8 + _DS64_SIZE_AT + 8)
    if found is None or found.promised != _LARGEST_32 or head[:4] != b"ds64" or len(head) < 24:
        return found
    size_at = 12 + 8 + _DS64_SIZE_AT
    return _Samples(found.start, struct.unpack("<Q", head[-8:])[0], size_at, "<Q")


def _in_w64(stream: BinaryIO) -> _Samples | None:
    position = 40
    for _ in range(_MOST_CHUNKS):
        head = bytes_at(stream, position, 24)
        if len(head) < 24:
            return None
        (size,) = struct.unpack("<Q", head[16:])
        if head[:4] == b"data":
            return _Samples(position + 24, max(0, size - 24), position + 16, "<Q", 24, chunks=False)
        position += max(24, size + -size % 8)
    return None


def _in_nist(stream: BinaryIO) -> _Samples | None:
    """NIST SPHERE says sizes in words; libsndfile reads what is there."""
    text = bytes_at(stream, 0, 1024).decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -i (\d{1,15})\s*$", text, re.M))
    length = re.match(r"NIST_1A\s+(\d{1,9})\s", text)
    if length is None or not {"sample_count", "sample_n_bytes", "channel_count"} <= set(fields):
        return None
    size = 1
    for name in ("sample_count", "sample_n_bytes", "channel_count"):
        size *= int(fields[name])
    return _Samples(int(length[1]), size, 0, "", chunks=False) if size else None


def _is_unknown(samples: _Samples) -> bool:
    """Whether the size is one that programs write before they know the true one."""
    size = samples.promised + samples.counted
    if not samples.form:
        return False
    if struct.calcsize(samples.form) == 8:
        return (samples.promised == 0 and not samples.chunks) or size >= 2**63 - 2**32
    if samples.form.startswith(">") and samples.counted and 0x7F000000 <= size < 2**31:
        return True  # what SoX writes into AIFF
    near = 2**31 - 2**16 <= size <= 2**31 + 2**16 or size >= 2**32 - 2**16
    return near or (samples.promised == 0 and not samples.chunks)


def _is_stale(stream: BinaryIO, samples: _Samples, there: int) -> bool:
    """Whether more samples follow behind the promised ones, rather than chunks, tags or padding."""
    if not samples.chunks:
        return False
    size = samples.promised + samples.counted
    if there > _LARGEST_32 and there % 2**32 == samples.promised:
        return True  # the size has wrapped
    wide = struct.calcsize(samples.form)
    align = 1 if wide == 8 and samples.counted == 4 else 2
    position = samples.start + samples.promised + -size % align
    following = bytes_at(stream, position, 1 << 16)
    if len(following) < 4 + wide or following.startswith(_TAGS):
        return False
    if not any(following):
        return samples.promised == 0  # silence, or padding behind samples
    form = "<I" if samples.form == "<Q" else samples.form  # ds64 says its chunk's size elsewhere
    (length,) = struct.unpack_from(form, following, 4)
    left = samples.start + there - position - 4 - struct.calcsize(form)
    named = all(0x20 <= byte < 0x7F for byte in following[:4])
    return not (named and length <= left + 1)


def _corrected(stream: BinaryIO, samples: _Samples, there: int) -> Correction | None:
    """The file's head with the size that is there; None where libsndfile finds it by itself."""
    if not samples.form or there == samples.promised:
        return None
    head = bytearray(bytes_at(stream, 0, samples.start))
    size = there + samples.counted
    if struct.calcsize(samples.form) == 4 and size > _LARGEST_32 - 1:
        return _as_rf64(head, samples, there)
    struct.pack_into(samples.form, head, samples.size_at, size)
    return Correction(bytes(head), samples.start)


def _as_rf64(head: bytearray, samples: _Samples, there: int) -> Correction:
    """A .wav of more than 4 GiB, which its own header cannot say."""
    if head[:4] != b"RIFF":
        raise HeaderError(
            f"holds {there} bytes of samples, more than its header can say; convert it to FLAC"
        )
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, there + samples.start, there, 0, 0)
    riff = struct.pack("<4sI4s", b"RF64", _LARGEST_32, b"WAVE")
    data = struct.pack("<4sI", b"data", _LARGEST_32)
    return Correction(riff + sizes + bytes(head[12:-8]) + data, samples.start)
