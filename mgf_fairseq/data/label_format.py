"""What the label files mean: symbols with a meaning of their own, and the form of each ending.

Written by `mgf prepare`; read by `mgf check` and the evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

UNLABELED = "-"  # a frame whose center no segment covers; it is in no dictionary
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # symbols that fairseq's dictionaries begin with
OVERWRITE = " #fairseq:overwrite"  # fairseq refuses a second symbol of these names without it


@dataclass(frozen=True)
class LabelForm:
    """What a line of a label file is made of; neither: one name or a text."""

    ctc: bool = False  # a sequence of units that CTC can spell
    frames: bool = False  # one label per encoder frame


# Endings of label files -> their form; all others have the plain one.
LABEL_FORMS: dict[str, LabelForm] = {
    **dict.fromkeys(("ltr", "spm", "bpe", "phones"), LabelForm(ctc=True)),
    "phn": LabelForm(frames=True),
}
PLAIN = LabelForm()


def dictionary_line(symbol: str, count: int) -> str:
    """A line of a dictionary, as fairseq reads it."""
    return f"{symbol} {count}{OVERWRITE if symbol in _SPECIAL else ''}\n"
