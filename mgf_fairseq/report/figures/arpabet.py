"""The ARPAbet phones by manner of articulation, each with a word in which it is heard.

A table for confusion.py, which orders matrices by it and puts confusions into words.
"""

from __future__ import annotations

from collections.abc import Iterable

# Manner -> phone -> a word; the capitals are the sound. Order: open to closed, vowels first.
MANNERS: dict[str, dict[str, str]] = {
    "vowels": {
        "IY": "sEE", "IH": "sIt", "EH": "bEd", "AE": "cAt", "AA": "fAther", "AO": "lAW",
        "UH": "bOOk", "UW": "mOOn", "AH": "cUp", "AX": "sofA", "ER": "bIRd",
    },
    "diphthongs": {"EY": "dAY", "AY": "mY", "OY": "bOY", "AW": "nOW", "OW": "gO"},
    "approximants": {"W": "Wet", "Y": "Yes", "R": "Red", "L": "Leg"},
    "nasals": {"M": "Man", "N": "Net", "NG": "siNG"},
    "fricatives": {
        "F": "Fan", "V": "Van", "TH": "THin", "DH": "THis", "S": "Sun", "Z": "Zoo",
        "SH": "SHip", "ZH": "meaSure", "HH": "Hat",
    },
    "affricates": {"CH": "CHin", "JH": "Jam"},
    "stops": {"P": "Pen", "B": "Bad", "T": "Ten", "D": "Dog", "K": "Key", "G": "Go"},
    "silence": {"SIL": "silence", "SP": "pause", "SPN": "noise", "NSN": "noise"},
}  # fmt: skip
_WORDS = {phone: word for phones in MANNERS.values() for phone, word in phones.items()}
_PLACE = {phone: place for place, phone in enumerate(_WORDS)}
_MANNER = {phone: manner for manner, phones in MANNERS.items() for phone in phones}


def _bare(phone: str) -> str:
    """Leave out the stress digit of a vowel: AH0 -> AH."""
    vowel = phone[:-1].upper()
    stressed = phone[-1:] in ("0", "1", "2") and _MANNER.get(vowel) in ("vowels", "diphthongs")
    return vowel if stressed else phone.upper()


def are_arpabet(classes: Iterable[str]) -> bool:
    """Say whether all classes are ARPAbet phones (with or without stress) or silence."""
    return all(_bare(name) in _WORDS for name in classes)


def manner(phone: str) -> str:
    """Return the manner of articulation of an ARPAbet phone."""
    return _MANNER[_bare(phone)]


def place(phone: str) -> int:
    """Return the position of an ARPAbet phone in the order of manners."""
    return _PLACE[_bare(phone)]


def in_words(phone: str) -> str:
    """Return a phone with the word that shows it, where there is one: IH (as in sIt)."""
    word = _WORDS.get(_bare(phone))
    if word is None or _MANNER[_bare(phone)] == "silence":
        return phone
    return f"{phone} (as in {word})"
