"""The CPC split of LibriSpeech train-clean-100, with phones and speakers.

Read from the user's own copy and label files; neither is distributed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ...data.text import read_lines, read_text
from .base import Corpus, PrepareError, Search, Segment, Utterance, require_some, stem_of
from .folder import read_librispeech

CPC_PHONES = "converted_aligned_phones.txt"  # `utt 12 12 12 7 ...`: a phone number per 10 ms
CPC_SPLITS = {"train": "train_split.txt", "test": "test_split.txt"}  # one utt per line
CPC_STEP = 0.01  # seconds per phone number
CPC_NUM_PHONES = 41
CPC_CAVEATS = (
    "CPC split: the test utterances lie inside LibriSpeech train-clean-100, so numbers of an "
    "encoder that was pre-trained on that set (or on LibriSpeech 960 h) are transductive",
    "CPC split: train and test share all speakers, and the valid split is drawn from train",
)


class SteppedLabels(Mapping[str, list[Segment]]):
    """Labels at a fixed step as segments, made when asked for: 100 hours of them are large."""

    def __init__(self, lines: dict[str, str], step: float) -> None:
        self._lines, self._step = lines, step

    def __getitem__(self, utt: str) -> list[Segment]:
        """Runs of equal labels, in seconds."""
        labels = self._lines[utt].split()
        starts = [i for i, label in enumerate(labels) if i == 0 or label != labels[i - 1]]
        return [
            Segment(start * self._step, end * self._step, labels[start])
            for start, end in zip(starts, [*starts[1:], len(labels)], strict=True)
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def read_cpc(source: Path, search: Search) -> Corpus:
    """LibriSpeech train-clean-100 with the label files of the CPC split.

    `source` holds the audio (a folder above it will do); the label files lie in it or in
    `search.labels_from`. Raises PrepareError where a label file is missing or fits no audio.
    """
    corpus = read_librispeech(source, search)
    labels = search.labels_from or source
    split_of: dict[str, str] = {}
    for split, name in CPC_SPLITS.items():
        for utt in read_text(_label_file(labels / name)).split():
            if split_of.setdefault(utt, split) != split:
                raise PrepareError(f"{labels / name}: {utt} is in {CPC_SPLITS['train']} as well")
    phones = _read_numbers(_label_file(labels / CPC_PHONES))
    kept: list[Utterance] = []
    skipped: list[tuple[str, str]] = []
    for item in corpus.utterances:
        if item.utt not in split_of:
            skipped.append((item.path, "in neither split file of CPC"))
        elif item.utt not in phones:
            skipped.append((item.path, f"not in {CPC_PHONES}"))
        else:
            kept.append(replace(item, split=split_of[item.utt]))
    require_some(kept, corpus.root, f"the utterances that {labels / CPC_SPLITS['train']} names")
    found = {item.utt for item in kept}
    absent = sorted(set(split_of) - found - {stem_of(path) for path, _ in skipped})
    skipped += [(utt, "in a split file of CPC, but there is no such audio") for utt in absent]
    return Corpus(
        "cpc",
        corpus.root,
        kept,
        SteppedLabels({item.utt: phones[item.utt] for item in kept}, CPC_STEP),
        skipped,
        CPC_CAVEATS,
        valid_from_train=True,
    )


def _label_file(path: Path) -> Path:
    if not path.is_file():
        raise PrepareError(
            f"{path} does not exist: the CPC split's label files are published with CPC_audio; "
            "unpack them and name their folder with --labels-from"
        )
    return path


def _read_numbers(path: Path) -> dict[str, str]:
    """The line of each utterance, without its name. Raises PrepareError for what is no number."""
    lines: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        utt, _, numbers = line.strip().partition(" ")
        if not utt:
            continue
        wrong = [
            word
            for word in set(numbers.split())
            if not (word.isdigit() and int(word) < CPC_NUM_PHONES)
        ]
        if wrong or not numbers.strip():
            found = repr(sorted(wrong)[0]) if wrong else "nothing"
            raise PrepareError(
                f"{path} line {number} ({utt}): expected phone numbers from 0 to "
                f"{CPC_NUM_PHONES - 1}, found {found}"
            )
        lines[utt] = numbers
    return lines
