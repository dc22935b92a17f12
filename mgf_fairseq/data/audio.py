"""Read a stretch of any audio file as mono fp32 at a given rate, by seeking.

Below the dataset and `mgf check` / `mgf prepare`, above soundfile and soxr; it never reads more
of a file than the stretch and the resampler's margin.
"""

from __future__ import annotations

import io
import math
import os
import re
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from .archives import open_member, open_regular
from .entries import Entry, ManifestError, parse_entry
from .headers.ogg import ogg_defect
from .headers.splicing import HeaderError
from .limits import SAMPLE_RATES
from .plain_wav import open_samples

# Extra output samples read on either side of a resampled crop. soxr's HQ filter decays below
# 1e-6 within a few hundred samples at the lower of the two rates.
_MARGIN = 1024
# libsndfile's seeking is not exact in two codecs (measured over 300 random crops each, see the
# tests), so decoding starts this many samples early and the surplus is dropped:
# - mp3: a frame may need bits of the frames before it (1 % of crops were wrong);
# - Vorbis: the first block after a seek is wrong (25 % of crops); a block has at most 8192 samples.
# Opus needs nothing: its decoder is not exactly repeatable after a seek (up to 0.003 on
# speech, 0.02 on noise), however early it starts. libmpg123 may remark on standard error on a seek.
_PREROLL = {"MPEG_LAYER_III": 16384, "VORBIS": 8192}
# A seek into the last page of a Vorbis file is off by the samples trimmed from its end. A page
# holds at most 255 packets of 1024 samples in common encodings.
_LAST_PAGE = 2**18
_BLOCK = 2**22  # values decoded at once: a header may promise hours that are not there
_LOUDEST = 1e10  # beyond any scale that samples have; squares of it, and sums of them, are finite
# Codings in which libsndfile seeks; in others (GSM 6.10, G.721, ...) reading starts at 0.
_SEEKABLE = re.compile(
    "PCM_|FLOAT|DOUBLE|ULAW|ALAW|IMA_ADPCM|MS_ADPCM|ALAC_|VORBIS|OPUS|MPEG_LAYER"
)
# Formats whose length is what is there, by header or by `headers`.
_COUNTED = re.compile("WAV|WAVEX|RF64|W64|AIFF|AU|CAF|NIST|OGG|MP3|MPEG")
_MOST_SAMPLES = 10**15  # of a file: an unknown length that nobody found, if it says more


class AudioError(ValueError):
    """An entry cannot be read as audio; the message names the entry and the reason."""


class AudioInfo(NamedTuple):
    """What the header says of an entry (of the stretch, where it names one)."""

    num_samples: int  # at the file's own rate
    sample_rate: int
    channels: int


def resampled_length(num_samples: int, native_rate: int, sample_rate: int) -> int:
    """Samples at `sample_rate` of a stretch of `num_samples` at `native_rate` (rounded)."""
    return (2 * num_samples * sample_rate + native_rate) // (2 * native_rate)


def audio_info(entry: str) -> AudioInfo:
    """Read the header of an entry, and its last sample if the header may promise too much.

    Raises AudioError like `AudioReader`, and for several recordings in one Ogg file.
    """
    with AudioReader(entry, 0) as reader:
        reader.require_end()
        if "several" in (defect := reader.defect()):
            raise AudioError(f"{entry}: {defect}; cut it into files")
        return AudioInfo(reader.native_num_samples, reader.native_sample_rate, reader.channels)


def entry_exists(entry: str) -> bool:
    """Whether the file of an entry is there; it is not opened."""
    try:
        return os.path.exists(entry) or os.path.exists(parse_entry(entry).path)
    except ManifestError:
        return False


class AudioReader:
    """An open entry, in any of the forms of `parse_entry`.

    Attributes: num_samples (at `sample_rate`; of the segment, where the entry names one),
    native_num_samples, native_sample_rate, channels, subtype, is_segment, seekable (else a crop
    is decoded from the beginning), length_is_counted (it is not in the header). A
    `sample_rate` of 0 means the file's own.
    Raises AudioError naming the entry for a file that is missing, not audio, without samples,
    or shorter than its header or the entry says.
    """

    def __init__(self, entry: str, sample_rate: int) -> None:
        self.entry = entry
        try:
            parsed = parse_entry(entry)
        except ManifestError as error:
            raise AudioError(str(error)) from None
        stream, parsed = _open_bytes(entry, parsed)
        try:
            self._stream, self.length_is_counted, self._file = open_samples(stream)
        except OSError as error:  # a disk or network file system that fails on reading
            stream.close()
            raise AudioError(f"{entry}: cannot be read ({error.strerror})") from error
        except HeaderError as error:
            stream.close()
            raise AudioError(f"{entry}: {error}") from None
        except (soundfile.SoundFileError, TypeError) as error:
            stream.close()
            raise AudioError(
                f"{entry}: not an audio file that libsndfile reads ({_reason(error)})"
                + ("; files in archives must be stored, not compressed" if parsed.member else "")
            ) from error
        self.native_sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.subtype: str = self._file.subtype  # libsndfile's name of the coding
        self.seekable = bool(self._file.seekable() and _SEEKABLE.match(self.subtype))
        self._position = 0  # where decoding is, in a file without seeking
        self.sample_rate = sample_rate or self.native_sample_rate
        total: int = self._file.frames
        self.is_segment = parsed.segment is not None
        self._first, self.native_num_samples = parsed.segment or (0, total)
        self.num_samples = resampled_length(
            self.native_num_samples, self.native_sample_rate, self.sample_rate
        )
        problem = self._problem(total)
        if problem:
            self.close()
            raise AudioError(f"{entry}: {problem}")

    def _problem(self, total: int) -> str:
        """Why the header is unusable, or an empty string."""
        low, high = SAMPLE_RATES
        if not low <= self.native_sample_rate <= high:
            return (
                f"its header says {self.native_sample_rate} Hz, which is not from {low} to {high}; "
                "correct the header, or do without it"
            )
        if total == 0:
            return "the file holds no samples"
        if total > _MOST_SAMPLES:
            return self.defect() or "its header does not say how long it is; convert it to FLAC"
        if self._first + self.native_num_samples > total:
            return f"the entry ends after the file's {total} samples"
        return ""

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()
        self._stream.close()

    def require_end(self) -> None:
        """Raise AudioError if only the last sample proves the length, and it cannot be read."""
        if not (self.seekable and _COUNTED.fullmatch(self._file.format)):
            self._read_native(self.native_num_samples - 1, 1)

    @property
    def is_mp3(self) -> bool:
        """Whether libsndfile has to walk through the frames to seek."""
        return self.subtype.startswith("MPEG")

    @property
    def file_seconds(self) -> float:
        """Length of the whole file, also of a segment's."""
        return int(self._file.frames) / self.native_sample_rate

    def defect(self) -> str:
        """How the recording is incomplete although it can be read, or an empty string."""
        return ogg_defect(self._stream)

    def read(self, start: int = 0, num_samples: int | None = None) -> npt.NDArray[np.float32]:
        """Read exactly `num_samples` (default: to the end) from `start`, both at `sample_rate`.

        Returns (S,) fp32, channels averaged, resampled by soxr (HQ). Raises AudioError where the
        stretch leaves the entry, data are missing, or a sample is NaN or infinite.
        """
        if num_samples is None:
            num_samples = self.num_samples - start
        if start < 0 or num_samples < 0 or start + num_samples > self.num_samples:
            raise AudioError(
                f"{self.entry}: samples {start} to {start + num_samples} requested, it holds "
                f"{self.num_samples} at {self.sample_rate} Hz; if the file was replaced, run "
                "`mgf prepare` again"
            )
        if self.native_sample_rate == self.sample_rate:
            return self._read_native(start, num_samples)
        return self._read_resampled(start, num_samples)

    def _read_resampled(self, start: int, num_samples: int) -> npt.NDArray[np.float32]:
        """Resample a stretch that begins where both rates have a sample, then cut the crop."""
        divisor = math.gcd(self.native_sample_rate, self.sample_rate)
        up, down = self.sample_rate // divisor, self.native_sample_rate // divisor
        block = max(0, start - _MARGIN) // up
        native_start = block * down
        native_stop = math.ceil((start + num_samples + _MARGIN) * down / up)
        native_stop = min(native_stop, self.native_num_samples)
        native = self._read_native(native_start, native_stop - native_start)
        resampled = soxr.resample(native, self.native_sample_rate, self.sample_rate, quality="HQ")
        crop = resampled[start - block * up :][:num_samples]
        # Rounding may leave the resampler one sample short at the very end of the file.
        return np.pad(crop, (0, num_samples - len(crop))).astype(np.float32, copy=False)

    def _read_native(self, start: int, num_samples: int) -> npt.NDArray[np.float32]:
        first = self._first + start
        preroll = first - self._safe_position(first)
        data = self._decode(first - preroll, preroll + num_samples)[preroll:]
        if len(data) != num_samples:
            raise AudioError(
                f"{self.entry}: truncated, {num_samples} samples from {start} requested and "
                f"{len(data)} found; fetch the file again or do without it"
            )
        waveform = data[:, 0] if self.channels == 1 else data.mean(axis=1)  # (S, C) -> (S,)
        whole = self.subtype.startswith("PCM_")  # numbers, scaled to -1 to 1
        if not (whole or np.abs(waveform).max(initial=0.0) <= _LOUDEST):  # nor where one is NaN
            raise AudioError(
                f"{self.entry}: holds NaN or infinite samples, or some beyond {_LOUDEST:g}; "
                "do without it"
            )
        return np.ascontiguousarray(waveform, dtype=np.float32)

    def _decode(self, first: int, num_samples: int) -> npt.NDArray[np.float32]:
        """Read (S, C), or as much as there is: in blocks, since soundfile allocates first."""
        block = max(1, _BLOCK // self.channels)
        blocks = []
        try:
            self._go_to(first)
            while num_samples > 0:
                data = self._file.read(min(block, num_samples), dtype="float32", always_2d=True)
                self._position += len(data)
                blocks.append(data)
                num_samples = num_samples - len(data) if len(data) else 0
        except soundfile.SoundFileError as error:
            raise AudioError(f"{self.entry}: cannot be decoded ({_reason(error)})") from error
        except OSError as error:
            raise AudioError(f"{self.entry}: cannot be read ({error.strerror})") from error
        if not blocks:
            return np.zeros((0, self.channels), np.float32)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _go_to(self, first: int) -> None:
        """Seek, or decode as far as `first` where the format has no seeking."""
        if self.seekable:
            self._file.seek(first)
            return
        if first < self._position:
            self._stream.seek(0)
            self._file, self._position = soundfile.SoundFile(self._stream), 0
        block = max(1, _BLOCK // self.channels)
        while self._position < first:
            found = len(self._file.read(min(block, first - self._position), dtype="float32"))
            self._position += found
            if not found:
                return

    def _safe_position(self, first: int) -> int:
        """Where to seek so that the sample at `first` is decoded exactly."""
        position = first - _PREROLL.get(self.subtype, 0)
        if self.subtype == "VORBIS":
            position = min(position, self._file.frames - _LAST_PAGE)
        return max(0, position)


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    return text.rstrip(". ")


def _open_bytes(entry: str, parsed: Entry) -> tuple[BinaryIO, Entry]:
    """Open the file, or the part of an archive, that holds the audio; and the entry as it is."""
    try:
        try:
            if parsed.member:
                return open_member(parsed.path, *parsed.member), parsed
            return io.BufferedReader(open_regular(parsed.path)), parsed
        except FileNotFoundError:
            # Perhaps a file whose own name ends like a segment; looked for last, since to ask for
            # every entry whether it is one costs a network file system dearly.
            return io.BufferedReader(open_regular(entry)), Entry(entry)
    except FileNotFoundError:
        raise AudioError(
            f"{entry}: no such file; if the audio has moved, correct line 1 of the manifest"
        ) from None
    except ValueError as error:  # MemberError, or a path with a NUL
        raise AudioError(f"{entry}: {error}") from None
    except OSError as error:
        raise AudioError(f"{entry}: cannot be opened ({error.strerror})") from error
