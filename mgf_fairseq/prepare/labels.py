"""Turn transcripts, phone segments and speaker names into fairseq's label lines and dictionaries.

Used by `mgf prepare` after the manifests are settled: one line per manifest row, in its order.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..data.label_format import UNLABELED, dictionary_line
from ..encoder.geometry import STANDARD_GRID
from ..utils.atomic import replace_file, replacing
from .corpora.base import Segment

_SPM_LINE = 4192  # bytes: SentencePiece's default limit of a line


class LabelError(ValueError):
    """Labels cannot be made; the message holds the fix."""


def normalize_text(text: str, case: str) -> str:
    """One space between words; `case` is "upper", "lower" or "keep".

    Raises LabelError where the text holds the letter format's word mark `|`.
    """
    if "|" in text:
        raise LabelError(
            f"the transcript {text[:60]!r} holds '|', the word mark of .ltr: remove it"
        )
    words = " ".join(text.split())
    return {"upper": words.upper(), "lower": words.lower(), "keep": words}[case]


def to_letters(text: str) -> str:
    """`HI YOU` -> `H I | Y O U |` (fairseq examples/wav2vec/libri_labels.py)."""
    return " ".join(text.replace(" ", "|")) + " |"


def class_label(name: str) -> str:
    """A class name as one token: white space becomes `_`."""
    return "_".join(name.split())


def frame_labels(
    segments: Sequence[Segment], num_samples: int, sample_rate: int, offset: float = 0.0
) -> list[str]:
    """One label per encoder frame: that of the segment which holds the frame's center.

    Frame t is centered on sample 320 t + 200 (`STANDARD_GRID`). `segments` are sorted, in seconds
    of the recording; `offset` is where this row begins in it. Centers that no segment covers get
    `UNLABELED`.
    """
    labels = []
    position = 0
    for sample in STANDARD_GRID.centers(num_samples):
        center = offset + sample / sample_rate
        while position < len(segments) and segments[position].end <= center:
            position += 1
        inside = position < len(segments) and segments[position].start <= center
        labels.append(segments[position].label if inside else UNLABELED)
    return labels


def count_symbols(lines: Iterable[str]) -> Counter[str]:
    """How often each space-separated symbol occurs."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.split())
    return counts


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write label lines in one step."""
    with replace_file(path) as stream:
        stream.writelines(f"{line}\n" for line in lines)


def write_dictionary(path: str | os.PathLike[str], counts: Counter[str]) -> None:
    """Write `symbol count` lines, most frequent first, ties by symbol, as fairseq reads them.

    Raises LabelError for an empty dictionary, with which no model could be built.
    """
    if not counts:
        raise LabelError(f"{path} would be empty: the train split holds no labels of this kind")
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    with replace_file(path) as stream:
        stream.writelines(dictionary_line(symbol, count) for symbol, count in ordered)


class SubwordModel:
    """A SentencePiece model trained on the train split (unigram, one thread: repeatable)."""

    def __init__(self, texts: Sequence[str], vocab_size: int) -> None:
        import sentencepiece

        if not texts:
            raise LabelError("SentencePiece needs transcripts in the train split: there are none")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                vocab_size=vocab_size,
                character_coverage=1.0,
                num_threads=1,
                minloglevel=2,
                # It leaves longer lines out without a word.
                max_sentence_length=max(_SPM_LINE, *(len(text.encode()) + 1 for text in texts)),
            )
        except (RuntimeError, ValueError) as error:
            raise LabelError(_explain_subword_error(str(error), vocab_size)) from error
        self.model = model.getvalue()
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=self.model)

    def encode(self, text: str) -> str:
        """Pieces separated by spaces."""
        return " ".join(self._processor.encode(text, out_type=str))

    def pieces(self) -> list[str]:
        """All pieces but the special ones, which fairseq's dictionary adds itself."""
        processor = self._processor
        return [
            processor.id_to_piece(i)
            for i in range(processor.get_piece_size())
            if not (processor.is_control(i) or processor.is_unknown(i))
        ]

    def save(self, path: Path) -> None:
        """Write the model file in one step."""
        with replacing(path) as temporary:
            temporary.write_bytes(self.model)


def _explain_subword_error(message: str, vocab_size: int) -> str:
    limit = re.search(r"value <= (\d+)", message)
    if limit:
        return (
            f"--spm-vocab-size {vocab_size} is more than this text supports: give at most "
            f"{limit.group(1)}"
        )
    floor = re.search(r"required_chars\. \d+ vs (\d+)", message)
    if floor:
        return (
            f"--spm-vocab-size {vocab_size} is less than the distinct characters of this text "
            f"need: give at least {floor.group(1)}"
        )
    return f"SentencePiece cannot be trained on these transcripts: {' '.join(message.split())}"
