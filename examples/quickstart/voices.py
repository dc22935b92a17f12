"""Who speaks in the quickstart's corpus, and how: eighty voices of espeak-ng, five styles.

The first twenty speak sentences, all of them commands: recognition of unheard voices needs many.
Styles are rate, pitch, pitch range and volume of a synthesizer, and no more than that. `fold_of`
assigns whole speakers to five folds for the emotion task.
"""

from __future__ import annotations

import dataclasses
import random


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

# Further voices of the commands. A variant's name is in one split only, whatever its dialect.
MORE = (
    *(("train", "F", name) for name in (
        *("en+f1", "en-gb-scotland+f2", "en-029+f3", "en-us+f4", "en-gb-x-gbclan+f5"),
        *("en+Annie", "en-gb-x-rp+linda", "en-us+anika", "en-029+Alicia", "en-gb-x-gbcwmd+aunty"),
        *("en-us+grandma", "en-us-nyc+f1"),
    )),
    *(("train", "M", name) for name in (
        *("en-us+Diogo", "en+Henrique", "en-us+Hugo", "en-gb-x-rp+Jacky", "en-us+Marco"),
        *("en-029+antonio", "en+benjamin", "en-us+boris", "en-gb-scotland+caleb", "en-us+david"),
        *("en-us+edward", "en-gb-x-gbclan+gustave", "en-us+ian", "en+iven", "en-us-nyc+john"),
        *("en-us+max", "en+miguel", "en-us+norbert", "en-gb-x-gbcwmd+pablo", "en-us+robert"),
    )),
    *(("valid", sex, name) for sex, name in (("M", "en-us+paul"), ("M", "en-gb-x-rp+Reed"))),
    *(("test", sex, name) for sex, name in (
        *(("F", "en-us+shelby"), ("M", "en+travis"), ("M", "en-gb-x-rp+zac")),
        *(("M", "en-029+quincy"), ("M", "en-gb-scotland+pedro"), ("M", "en-us+victor")),
    )),
)  # fmt: skip


def _drawn(number: int, split: str, sex: str, voice: str) -> Speaker:
    """A speaker whose pitch, rate and microphone are drawn by its number."""
    chance = random.Random(f"s{number}")
    pitch, rate = chance.randint(40, 60), chance.randint(156, 184)
    tilt = chance.randint(-4, 5) / 20
    return Speaker(f"s{number}", voice, sex, pitch, rate, tilt, split)


ALL_SPEAKERS = (*SPEAKERS, *(_drawn(n, *who) for n, who in enumerate(MORE, start=41)))


def fold_of(speaker: Speaker) -> str:
    """The fold of a speaker: as many in each, half of either sex."""
    return f"fold{ALL_SPEAKERS.index(speaker) % FOLDS + 1}"


def speakers_of(kind: str) -> tuple[Speaker, ...]:
    """Who speaks texts of a kind."""
    return SPEAKERS[:20] if kind == "sentences" else ALL_SPEAKERS
