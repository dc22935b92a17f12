"""What is spoken in the quickstart's corpus: sentences, and commands of a small language.

The commands are made of 52 words, so that speech recognition is learned in minutes.
Valid and test consist of texts that no training speaker speaks.
"""

from __future__ import annotations

import hashlib
import inspect
import random
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

KINDS = ("sentences", "commands")
HERE = Path(__file__).resolve().parent

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SLOTS = {
    "digit": DIGITS,
    "hour": [*DIGITS[1:], "ten"],
    "tens": ["ten", "twenty", "thirty", "forty", "fifty"],
    "name": ["Anna", "Peter", "Maria", "Oscar", "Lucy", "Victor"],
    "room": ["kitchen", "bedroom", "office", "garden"],
    "device": ["light", "heater", "radio"],
    "thing": ["door", "window"],
    "way": ["left", "right", "up", "down"],
}
FORMS = (
    "{digit} {digit} {digit}",
    "{digit} {digit} {digit} {digit}",
    "call {name} at {hour}",
    "turn on the {device} in the {room}",
    "turn off the {device} in the {room}",
    "open the {room} {thing}",
    "close the {room} {thing}",
    "set a timer for {tens} minutes",
    "go {way} {digit} steps",
    "play song {digit} {digit}",
)


def texts_of(kind: str, split: str, seed: int, chance: random.Random) -> Iterator[str]:
    """Texts without end: shuffled sentences of the split, or commands of it, drawn by `chance`."""
    sentences = sentences_for(split, seed)
    while True:
        if kind == "sentences":
            yield from chance.sample(sentences, len(sentences))
        elif split_of(text := draw_command(chance)) == split:
            yield text


def read_sentences() -> list[str]:
    """Read the sentences in the file beside this one."""
    lines = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def sentences_for(split: str, seed: int) -> list[str]:
    """Sentences of a split: valid and test read sentences that no training speaker reads."""
    sentences = read_sentences()
    random.Random(f"{seed}/split").shuffle(sentences)
    return {"valid": sentences[:24], "test": sentences[24:54]}.get(split, sentences[54:])


def draw_command(chance: random.Random) -> str:
    """Draw a form, and a word for each of its slots."""
    form = chance.choice(FORMS)
    return re.sub(r"\{(\w+)\}", lambda slot: chance.choice(SLOTS[slot[1]]), form)


def split_of(command: str) -> str:
    """The one split in which a command is spoken: a third of all commands are held out."""
    return {0: "valid", 1: "test"}.get(zlib.crc32(command.encode()) % 6, "train")


def transcript(sentence: str) -> str:
    """Upper-case words only, as in LibriSpeech."""
    return re.sub(r"[^A-Z' ]+", " ", sentence.upper()).strip()


def digest() -> str:
    """What a corpus says of its texts, so that it is made again after a change of them."""
    code = inspect.getsource(sys.modules[__name__])
    everything = "\n".join([code, *read_sentences()])
    return hashlib.sha256(everything.encode()).hexdigest()[:16]
