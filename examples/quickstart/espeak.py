"""A ctypes binding to espeak-ng that returns samples together with the phone times of the engine.

`corpus.py` is its only caller; library and voices come from the package `espeakng-loader`.
"""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

# Values of the enums and flags in espeak-ng's public header `speak_lib.h`.
OUTPUT_SYNCHRONOUS = 2
INITIALIZE_PHONEME_EVENTS, INITIALIZE_DONT_EXIT = 0x0001, 0x8000
EVENT_LIST_TERMINATED, EVENT_PHONEME = 0, 7
PARAMETER = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}
CHARS_UTF8 = 1

# Below this magnitude (of 32768) a sample counts as the engine's own pause.
QUIET = 8

# espeak-ng's English phone names, without stress marks -> the 39 ARPAbet phones. An r-colored vowel
# is one event in the engine and therefore one phone here: its vowel, or ER where it has no other.
# None: a marker without a sound of its own, whose time goes to the phone before it.
ARPABET: dict[str, str | None] = {
    **dict.fromkeys(["0", "A:", "A@"], "AA"),
    **dict.fromkeys(["a", "aa"], "AE"),
    **dict.fromkeys(["@", "@-", "@2", "@5", "a#", "V"], "AH"),
    **dict.fromkeys(["O:", "O2", "O@", "o@", "O"], "AO"),
    **dict.fromkeys(["aI", "aI2", "aI3", "aI@"], "AY"),
    **dict.fromkeys(["E", "e@"], "EH"),
    **dict.fromkeys(["3", "3:", "IR", "VR"], "ER"),
    **dict.fromkeys(["I", "I#", "I2"], "IH"),
    **dict.fromkeys(["i", "i:", "i@", "i@3"], "IY"),
    **dict.fromkeys(["U", "U@"], "UH"),
    **dict.fromkeys(["t", "t#", "t2", "t[", "?"], "T"),
    **dict.fromkeys(["n", "n-"], "N"),
    **dict.fromkeys(["l", "@L"], "L"),
    **dict.fromkeys(["r", "r-"], "R"),
    **dict.fromkeys(["w", "w#"], "W"),
    **{name: name.upper() for name in "bdfgkmpsvz"},
    **{"h": "HH", "j": "Y", "N": "NG", "D": "DH", "T": "TH", "S": "SH", "Z": "ZH"}
    | {"aU": "AW", "eI": "EY", "oU": "OW", "OI": "OY", "u:": "UW", "tS": "CH", "dZ": "JH"},
    ";": None,
}


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclasses.dataclass(frozen=True)
class Phone:
    """`label` (ARPAbet or SIL) from sample `start` to sample `end` of its utterance."""

    start: int
    end: int
    label: str


def arpabet(name: str) -> str | None:
    """Map an engine's phone name to ARPAbet or SIL, or to None for a silent marker."""
    if name.startswith("_") or not name:
        return "SIL"
    bare = name.lstrip("',%=")
    if bare not in ARPABET:
        raise ValueError(f"espeak-ng phone {name!r} has no ARPAbet entry: add it to espeak.ARPABET")
    return ARPABET[bare]


class Espeak:
    """The engine of this process.

    It carries state (phase, noise) from one utterance to the next, so the same bytes come out only
    for the same sequence of calls in a fresh process.
    """

    def __init__(self, seed: int = 1) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self._library.espeak_Initialize(
            OUTPUT_SYNCHRONOUS,
            0,
            espeakng_loader.get_data_path().encode(),
            INITIALIZE_PHONEME_EVENTS | INITIALIZE_DONT_EXIT,
        )
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng did not start: reinstall the package espeakng-loader")
        # Starting seeds the noise of breathy voices from the clock: seed it again.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, str]] = []
        self._callback = _Callback(self._receive)  # a reference the engine may keep
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != EVENT_LIST_TERMINATED:
            if events[index].type == EVENT_PHONEME:
                # A full field has no terminator; `string` cuts at the first zero byte.
                self._events.append((events[index].sample, events[index].id.string.decode()))
            index += 1
        return 0

    def set_voice(self, voice: str) -> None:
        """Choose a voice such as `en-us+f2`: a dialect and a variant."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")

    def say(self, text: str, **parameters: int) -> tuple[npt.NDArray[np.int16], list[Phone]]:
        """Synthesize `text` with `rate`, `pitch`, `range`, `volume`; samples and their phones."""
        for name, value in parameters.items():
            self._library.espeak_SetParameter(PARAMETER[name], value, 0)
        self._chunks.clear()
        self._events.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, len(encoded) + 1, 0, 0, 0, CHARS_UTF8, None, None
        )
        if status != 0 or not self._chunks:
            raise RuntimeError(f"espeak-ng returned no audio for {text!r} (status {status})")
        samples = np.concatenate(self._chunks)
        return samples, phones_from_events(self._events, samples)


def phones_from_events(
    events: list[tuple[int, str]], samples: npt.NDArray[np.int16]
) -> list[Phone]:
    """Turn (start sample, engine's name) events into phones that tile the utterance.

    The engine marks a stop at its burst; the pause it makes before that is the closure and belongs
    to the stop, so a start moves back over quiet samples unless silence precedes it anyway.
    """
    starts: list[tuple[int, str]] = [(0, "SIL")]
    for position, name in sorted(events, key=lambda event: event[0]):
        label = arpabet(name)
        if label is None:
            continue
        before, previous = starts[-1]
        position = min(max(position, before), len(samples))
        if label == previous == "SIL":
            continue
        if previous != "SIL" and label != "SIL":
            position = _closure_start(samples, position, before)
        starts.append((position, label))
    ends = [start for start, _ in starts[1:]] + [len(samples)]
    return [
        Phone(start, end, label)
        for (start, label), end in zip(starts, ends, strict=True)
        if end > start
    ]


def _closure_start(samples: npt.NDArray[np.int16], position: int, before: int) -> int:
    """Move `position` back over quiet samples, leaving the phone before it half of its time."""
    earliest = (before + position) // 2
    loud = np.flatnonzero(np.abs(samples[earliest:position].astype(np.int32)) > QUIET)
    return earliest + int(loud[-1]) + 1 if len(loud) else earliest
