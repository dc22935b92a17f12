"""16-bit WAV files with a header of the plainest kind, read without libsndfile: half the time.

Below the audio reader, which asks libsndfile for everything else. Samples are equal bit by bit.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from .headers import with_true_length

_HEADER = 512  # bytes in which the samples must begin
_SKIPPED = (b"LIST", b"fact", b"JUNK", b"PAD ")  # chunks that say nothing of the samples
_PCM, _BITS = 1, 16
_MOST_CHANNELS = 8


class PlainWav:
    """The samples of an open file, under the names of `soundfile.SoundFile`."""

    format, subtype = "WAV", "PCM_16"

    def __init__(
        self, stream: BinaryIO, start: int, frames: int, channels: int, samplerate: int
    ) -> None:
        """Take what the header says; `start` is the byte of the first sample."""
        self._stream, self._start = stream, start
        self.frames, self.channels, self.samplerate = frames, channels, samplerate
        self._position = 0

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, frames: int) -> None:
        """Go to a sample."""
        self._position = frames

    def read(
        self, frames: int, dtype: str = "float32", always_2d: bool = True
    ) -> npt.NDArray[np.float32]:
        """Read (S, C) fp32 within -1 to 1, from the position on; fewer where the file ends."""
        count = max(0, min(frames, self.frames - self._position)) * self.channels
        data = np.empty(count, "<i2")
        width = 2 * self.channels
        self._stream.seek(self._start + self._position * width)
        found = self._stream.readinto(data.view(np.uint8).data) // width  # type: ignore[attr-defined]
        self._position += found
        # By a power of two, so nothing is rounded: libsndfile's scale.
        scaled = np.multiply(data[: found * self.channels], np.float32(2**-15), dtype=np.float32)
        return scaled.reshape(found, self.channels)

    def close(self) -> None:
        """Leave the file open: whoever opened it closes it."""


def open_samples(stream: BinaryIO) -> tuple[BinaryIO, bool, PlainWav | soundfile.SoundFile]:
    """The file under a true header, whether its length had to be counted, and its samples.

    Raises:
        HeaderError: its header promises what is not there.
        soundfile.SoundFileError: it is no audio.
    """
    if plain := open_plain_wav(stream):
        return stream, False, plain
    stream, counted = with_true_length(stream)
    return stream, counted, soundfile.SoundFile(stream)


def open_plain_wav(stream: BinaryIO) -> PlainWav | None:
    """Open the file if its header is plain and agrees with its size; else None, at the beginning.

    Plain is: RIFF, a `fmt ` chunk of 16 bytes for 16-bit PCM, chunks of text or filling, and
    samples to the end of the file.
    """
    head = stream.read(_HEADER)
    found = _parse(head, stream.seek(0, os.SEEK_END))
    stream.seek(0)
    return PlainWav(stream, *found) if found else None


def _parse(head: bytes, size: int) -> tuple[int, int, int, int] | None:
    """First byte of samples, frames, channels, rate."""
    if head[:4] != b"RIFF" or head[8:20] != b"WAVEfmt \x10\0\0\0" or len(head) < 44:
        return None
    coding, channels, rate, speed, width, bits = struct.unpack_from("<HHIIHH", head, 20)
    if (coding, bits, width, speed) != (_PCM, _BITS, 2 * channels, rate * 2 * channels):
        return None
    position = 36
    while head[position : position + 4] in _SKIPPED and position + 8 <= len(head):
        (length,) = struct.unpack_from("<I", head, position + 4)
        position += 8 + length + length % 2
    if head[position : position + 4] != b"data" or position + 8 > len(head):
        return None
    (promised,) = struct.unpack_from("<I", head, position + 4)
    whole = promised > 0 and promised % width == 0 and position + 8 + promised == size
    if not (whole and 1 <= channels <= _MOST_CHANNELS):
        return None
    return position + 8, promised // width, channels, rate
