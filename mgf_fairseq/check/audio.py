"""Measure one manifest line and judge it: one small rule per defect of an audio file.

The audio half of `mgf check`: manifests.py applies these rules to whole manifests.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..data.audio import AudioError, AudioReader, entry_exists
from ..data.limits import FINETUNING_MAX_TOKENS, MUCH, PRETRAINING_MIN_SAMPLES
from ..data.sample_counts import difference, fits

Severity = Literal["error", "note"]
_BLOCK_SECONDS = 60  # long recordings are looked through in pieces of this length
_SILENT_RMS = 10 ** (-70 / 20)  # -70 dB of full scale
_CLIPPED_LEVEL = 0.999
_CLIPPED_SHARE = 0.001
_LONG_MP3 = 60  # s, from which on a crop of an mp3 costs more than its own decoding
_CONVERT = "mgf prepare --convert writes 16 kHz mono FLAC and manifests over it"


@dataclass(frozen=True)
class Options:
    """The thresholds of the rules."""

    sample_rate: int = 16000  # Hz
    min_seconds: float = 0.025  # the receptive field: 400 samples at 16 kHz
    max_seconds: float = math.inf
    min_sample_size: int = PRETRAINING_MIN_SAMPLES  # as task.min_sample_size of pre-training
    max_tokens: int = FINETUNING_MAX_TOKENS  # as dataset.max_tokens of fine-tuning
    fast: bool = False  # headers only: no silent, clipped, truncated, NaN or same-content rule
    workers: int = 2

    def __post_init__(self) -> None:
        if self.sample_rate <= 0:
            raise ValueError(f"sample_rate={self.sample_rate} must be above 0 Hz")
        if not 0 <= self.min_seconds < self.max_seconds:
            raise ValueError(
                f"min_seconds={self.min_seconds} must lie between 0 and "
                f"max_seconds={self.max_seconds}"
            )
        for name in ("min_sample_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.workers < 1:
            raise ValueError(f"workers={self.workers} must be at least 1")


@dataclass(frozen=True, slots=True)  # one of a million
class Facts:
    """What was measured of one manifest line; rules read nothing else."""

    expected: int  # samples, as the manifest says
    exists: bool
    failure: str = ""  # why the file could not be read
    num_samples: int = 0  # at Options.sample_rate
    native_rate: int = 0  # Hz
    channels: int = 0
    rms: float | None = None  # of full scale 1; None: not measured
    clipped_share: float = 0.0
    segment: bool = False
    slow: str = ""  # why a crop costs more than its own samples
    counted: bool = False  # the header does not say the length, or a wrong one
    defect: str = ""  # why it is less than it was
    digest: str = ""  # equal for equal audio (in fast mode: for the same file)


Test = Callable[[Facts, Options], str]


@dataclass(frozen=True)
class Rule:
    """A test of one line; it returns what is wrong, or an empty string."""

    name: str
    severity: Severity
    drops: bool
    fix: str  # {name} is the option of that name
    test: Test
    much: float = 0.0  # an error from this share of the lines on, else a note


RULES: list[Rule] = []


def rule(
    name: str, severity: Severity, drops: bool, fix: str, much: float = 0.0
) -> Callable[[Test], Test]:
    """Register a test of one line; rules run in the order of this file, the first drop counts."""

    def register(test: Test) -> Test:
        RULES.append(Rule(name, severity, drops, fix, test, much))
        return test

    return register


@rule("missing", "error", True, "restore the file, correct line 1, or run mgf prepare again")
def _missing(facts: Facts, options: Options) -> str:
    return "" if facts.exists else "no such file"


@rule(
    "unreadable",
    "error",
    True,
    "fetch or convert the file again, or remove it and run mgf prepare again",
)
def _unreadable(facts: Facts, options: Options) -> str:
    return facts.failure if facts.exists else ""


@rule(
    "too short",
    "error",
    True,
    "remove the file and run mgf prepare again, or join it with its neighbor",
)
def _too_short(facts: Facts, options: Options) -> str:
    seconds = facts.num_samples / options.sample_rate
    short = facts.num_samples and seconds < options.min_seconds
    return f"{seconds:.3f} s < {options.min_seconds:g} s" if short else ""


@rule("too long", "error", True, "cut it into segments: mgf prepare makes offset segments")
def _too_long(facts: Facts, options: Options) -> str:
    seconds = facts.num_samples / options.sample_rate
    return f"{seconds:.1f} s > {options.max_seconds:g} s" if seconds > options.max_seconds else ""


@rule(
    "below task.min_sample_size",
    "error",
    True,
    "pre-training skips these: set task.min_sample_size lower (here {min_sample_size}) to train on "
    "them, with two views of each that overlap, or join them",
    MUCH,
)
def _below_minimum(facts: Facts, options: Options) -> str:
    short = 0 < facts.num_samples < options.min_sample_size
    return f"{facts.num_samples} samples < {options.min_sample_size}" if short else ""


@rule(
    "above dataset.max_tokens",
    "note",
    False,
    "fairseq's fine-tuning stops at these: set dataset.max_tokens higher (here {max_tokens}), or "
    "cut them: mgf prepare --segment-seconds",
)
def _above_maximum(facts: Facts, options: Options) -> str:
    long = facts.num_samples > options.max_tokens
    return f"{facts.num_samples} samples > {options.max_tokens}" if long else ""


@rule("count differs", "error", False, "the file changed since: run mgf prepare again")
def _count_differs(facts: Facts, options: Options) -> str:
    if not facts.num_samples or fits(facts.num_samples, facts.expected):
        return ""
    return difference(facts.num_samples, facts.expected, options.sample_rate)


@rule(
    "count differs a little",
    "note",
    False,
    "training takes up to 0.1 % as rounding; if the file changed since, run mgf prepare again",
)
def _count_rounded(facts: Facts, options: Options) -> str:
    # One sample of rounding is usual where the rate is converted.
    usual = int(facts.native_rate != options.sample_rate)
    few = fits(facts.num_samples, facts.expected)
    if not (few and facts.num_samples and abs(facts.num_samples - facts.expected) > usual):
        return ""
    return difference(facts.num_samples, facts.expected, options.sample_rate)


@rule(
    "silent",
    "error",
    False,
    "nothing can be learned from silence: remove the file and run mgf prepare again",
)
def _silent(facts: Facts, options: Options) -> str:
    if facts.rms is None or facts.rms >= _SILENT_RMS:
        return ""
    return "digital silence" if facts.rms == 0 else f"{20 * math.log10(facts.rms):.0f} dB"


@rule("clipped", "note", False, "record or export it again at a lower level, if you can")
def _clipped(facts: Facts, options: Options) -> str:
    share = facts.clipped_share
    return f"{100 * share:.1f} % at full scale" if share > _CLIPPED_SHARE else ""


@rule("cut short", "error", False, "fetch it again, or keep the part that is there")
def _cut_short(facts: Facts, options: Options) -> str:
    return facts.defect


@rule(
    "rate",
    "note",
    False,
    f"resampled on reading by pre-training; fairseq's fine-tuning stops at it: {_CONVERT}",
)
def _rate(facts: Facts, options: Options) -> str:
    other = facts.native_rate not in (0, options.sample_rate)
    return f"{facts.native_rate} Hz" if other else ""


@rule("slow format", "note", False, f"each crop of it costs more than its samples: {_CONVERT}")
def _slow(facts: Facts, options: Options) -> str:
    return facts.slow


@rule(
    "length not in the header",
    "note",
    False,
    f"counted each time it is opened; fairseq's fine-tuning may stop at it: {_CONVERT}",
)
def _counted(facts: Facts, options: Options) -> str:
    return f"{facts.num_samples} samples were counted" if facts.counted else ""


@rule("channels", "note", False, "averaged to mono on reading; nothing to do if that is right")
def _channels(facts: Facts, options: Options) -> str:
    return f"{facts.channels} channels" if facts.channels > 1 else ""


@rule("segment", "note", False, "read by MGF; for fairseq's own tasks: mgf shard --cut")
def _segment(facts: Facts, options: Options) -> str:
    return "stock fairseq takes its numbers for bytes" if facts.segment else ""


def measure(entry: str, expected: int, options: Options) -> Facts:
    """Read what the rules need of one entry; never raises on a broken file."""
    facts = Facts(expected, exists=entry_exists(entry))
    try:
        with AudioReader(entry, options.sample_rate) as reader:
            facts = replace(
                facts,
                num_samples=reader.num_samples,
                native_rate=reader.native_sample_rate,
                channels=reader.channels,
                segment=reader.is_segment,
                slow=_why_slow(reader),
                counted=reader.length_is_counted,
                defect=reader.defect(),
                digest=entry,
            )
        return facts if options.fast else _measure_content(facts, entry)
    except (AudioError, OSError) as error:
        reason = str(error).removeprefix(f"{entry}: ")
        return Facts(expected, facts.exists, failure=reason)


def _why_slow(reader: AudioReader) -> str:
    if not reader.seekable:
        return f"{reader.subtype} has no seeking, so it is decoded from its beginning"
    long = reader.file_seconds > _LONG_MP3
    return "a long mp3 is walked through from its beginning" if long and reader.is_mp3 else ""


def _measure_content(facts: Facts, entry: str) -> Facts:
    """Add level, clipping and a digest of the samples, at the file's own rate."""
    digest = hashlib.blake2b(digest_size=16)
    squares, clipped, total = 0.0, 0, 0
    with AudioReader(entry, 0) as reader:
        digest.update(str(reader.native_sample_rate).encode())
        block = _BLOCK_SECONDS * reader.native_sample_rate
        for start in range(0, reader.num_samples, block):
            waveform = reader.read(start, min(block, reader.num_samples - start))
            digest.update(waveform.tobytes())
            squares += float(np.dot(waveform, waveform))
            clipped += int(np.count_nonzero(np.abs(waveform) >= _CLIPPED_LEVEL))
            total += len(waveform)
    return replace(
        facts,
        rms=math.sqrt(squares / max(1, total)),
        clipped_share=clipped / max(1, total),
        digest=digest.hexdigest(),
    )
