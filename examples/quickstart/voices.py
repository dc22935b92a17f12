"""Who speaks in the quickstart's corpus, and how: forty voices of espeak-ng, five styles.

The first twenty speak sentences, all of them commands: recognition of unheard voices needs many.
Styles are rate, pitch, pitch range and volume of a synthesizer, and no more than that. `fold_of`
assigns whole speakers to five folds for the emotion task.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Style:
    """A way to speak: rate as a factor, pitch as an offset, pitch range 0-99, gain in dB."""

    rate: float
    pitch: int
    range: int
    gain: float


FOLDS = 5
STYLES = {
    "plain": Style(1.0, 0, 50, -3.0),
    "calm": Style(0.82, -8, 25, -8.0),
    "lively": Style(1.12, 14, 90, 0.0),
    "flat": Style(0.95, 0, 0, -3.0),
    "hurried": Style(1.45, 5, 60, -1.0),
}


@dataclasses.dataclass(frozen=True)
class Speaker:
    """One speaker: an engine voice with its own pitch, rate (words a minute) and microphone."""

    name: str
    voice: str
    sex: str
    pitch: int
    rate: int
    tilt: float  # of a two-tap filter: below zero dull, above zero bright
    split: str


SPEAKERS = (
    Speaker("s01", "en-us+f1", "F", 52, 165, 0.10, "train"),
    Speaker("s02", "en-us+m1", "M", 46, 170, -0.10, "train"),
    Speaker("s03", "en+f2", "F", 46, 158, -0.05, "train"),
    Speaker("s04", "en+m2", "M", 54, 176, 0.20, "train"),
    Speaker("s05", "en-us+f3", "F", 58, 180, 0.00, "train"),
    Speaker("s06", "en-gb-scotland+m3", "M", 42, 160, 0.05, "train"),
    Speaker("s07", "en-gb-x-rp+f4", "F", 44, 168, 0.15, "train"),
    Speaker("s08", "en-us+m4", "M", 58, 184, -0.20, "train"),
    Speaker("s09", "en-us-nyc+f5", "F", 50, 174, -0.15, "train"),
    Speaker("s10", "en-gb-x-rp+m8", "M", 50, 156, 0.25, "train"),
    Speaker("s11", "en-us+Annie", "F", 50, 170, 0.00, "train"),
    Speaker("s12", "en-us-nyc+m6", "M", 38, 164, 0.10, "train"),
    Speaker("s13", "en+linda", "F", 48, 178, 0.10, "train"),
    Speaker("s14", "en-us+Gene", "M", 50, 172, -0.05, "train"),
    Speaker("s15", "en-gb-x-gbcwmd+belinda", "F", 40, 162, 0.20, "valid"),
    Speaker("s16", "en-us+m7", "M", 48, 174, 0.00, "valid"),
    Speaker("s17", "en-us+steph", "F", 50, 168, -0.10, "test"),
    Speaker("s18", "en+michel", "M", 48, 166, 0.10, "test"),
    Speaker("s19", "en-gb-x-gbclan+Andrea", "F", 60, 176, 0.05, "test"),
    Speaker("s20", "en-us+Lee", "M", 44, 160, -0.15, "test"),
    Speaker("s21", "en-us+Alicia", "F", 52, 172, 0.05, "train"),
    Speaker("s22", "en-us+Michael", "M", 46, 166, -0.05, "train"),
    Speaker("s23", "en-gb-x-gbclan+f3", "F", 56, 170, 0.10, "train"),
    Speaker("s24", "en-gb-x-gbclan+m4", "M", 50, 178, 0.00, "train"),
    Speaker("s25", "en-gb-x-gbcwmd+f1", "F", 54, 160, -0.10, "train"),
    Speaker("s26", "en-gb-x-gbcwmd+Andy", "M", 44, 172, 0.15, "train"),
    Speaker("s27", "en-029+f5", "F", 48, 166, 0.00, "train"),
    Speaker("s28", "en-029+m1", "M", 52, 174, 0.10, "train"),
    Speaker("s29", "en+anika", "F", 50, 176, -0.15, "train"),
    Speaker("s30", "en+Mike", "M", 42, 168, 0.05, "train"),
    Speaker("s31", "en-gb-scotland+aunty", "F", 46, 162, 0.00, "train"),
    Speaker("s32", "en-us+Denis", "M", 56, 180, -0.10, "train"),
    Speaker("s33", "en-us+f2", "F", 62, 168, 0.20, "train"),
    Speaker("s34", "en+Alex", "M", 48, 158, -0.05, "train"),
    Speaker("s35", "en-gb-x-rp+grandma", "F", 44, 156, 0.10, "train"),
    Speaker("s36", "en-us+adam", "M", 50, 182, 0.00, "train"),
    Speaker("s37", "en-us-nyc+f3", "F", 50, 170, -0.20, "train"),
    Speaker("s38", "en-gb-x-rp+Mario", "M", 46, 164, 0.15, "train"),
    Speaker("s39", "en-gb-scotland+f4", "F", 58, 178, 0.05, "train"),
    Speaker("s40", "en-us+ed", "M", 40, 170, -0.15, "train"),
)


def fold_of(speaker: Speaker) -> str:
    """The fold of a speaker: as many in each, half of either sex."""
    return f"fold{SPEAKERS.index(speaker) % FOLDS + 1}"


def speakers_of(kind: str) -> tuple[Speaker, ...]:
    """Who speaks texts of a kind."""
    return SPEAKERS[:20] if kind == "sentences" else SPEAKERS
