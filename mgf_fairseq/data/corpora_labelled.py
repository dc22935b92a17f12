"""Two corpora that evaluations are published on, read from the user's own copy and label files.

Beside corpora.py: the CPC split of LibriSpeech train-clean-100 (phones and speakers), and the four
classes and five sessions of IEMOCAP (emotion). Neither is distributed here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .corpora import (
    Corpus,
    PrepareError,
    Search,
    Segment,
    Utterance,
    audio_paths,
    read_lines,
    read_text,
    stem_of,
)
from .corpora_folder import read_librispeech

CPC_PHONES = "converted_aligned_phones.txt"  # `utt 12 12 12 7 ...`: a phone number per 10 ms
CPC_SPLITS = {"train": "train_split.txt", "test": "test_split.txt"}  # one utt per line
CPC_STEP = 0.01  # seconds per phone number
CPC_NUM_PHONES = 41
CPC_CAVEATS = (
    "CPC split: the test utterances lie inside LibriSpeech train-clean-100, so numbers of an "
    "encoder that was pre-trained on that set (or on LibriSpeech 960 h) are transductive",
    "CPC split: train and test share all speakers, and the valid split is drawn from train",
)

# The usual four classes; excitement counts as happiness, and all other labels are left out.
IEMOCAP_CLASSES = {
    "ang": "angry",
    "exc": "happy",
    "hap": "happy",
    "neu": "neutral",
    "sad": "sad",
}
IEMOCAP_SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
IEMOCAP_CAVEAT = (
    "IEMOCAP: 4 classes (angry, happy and excited, sad, neutral), 5 folds, one per session"
)
# `[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]`
_TURN = re.compile(r"^\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(Ses\w+)\s+([a-z]{3})\s")
_TURN_NAME = re.compile(r"^Ses0?(\d)[FM]_.+_([FM])\w*$")


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
    left_out: list[tuple[str, str]] = []
    for item in corpus.utterances:
        if item.utt not in split_of:
            left_out.append((item.path, "in neither split file of CPC"))
        elif item.utt not in phones:
            left_out.append((item.path, f"not in {CPC_PHONES}"))
        else:
            kept.append(replace(item, split=split_of[item.utt]))
    _require_some(kept, corpus.root, f"the utterances that {labels / CPC_SPLITS['train']} names")
    found = {item.utt for item in kept}
    absent = sorted(set(split_of) - found - {stem_of(path) for path, _ in left_out})
    left_out += [(utt, "in a split file of CPC, but there is no such audio") for utt in absent]
    return Corpus(
        "cpc",
        corpus.root,
        kept,
        SteppedLabels({item.utt: phones[item.utt] for item in kept}, CPC_STEP),
        left_out,
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


def is_iemocap(source: Path) -> bool:
    """Whether a folder looks like IEMOCAP_full_release."""
    return (source / IEMOCAP_SESSIONS[0] / "dialog" / "EmoEvaluation").is_dir()


def read_iemocap(source: Path, search: Search) -> Corpus:
    """IEMOCAP_full_release: four classes, the five sessions as folds, ten speakers.

    `SessionN/sentences/wav/**/TURN.wav` under `source`, `SessionN/dialog/EmoEvaluation/*.txt` under
    it or under `search.labels_from`. Raises PrepareError where a session or its labels are missing.
    """
    root = Path(os.path.realpath(source))
    emotions = _read_evaluations(search.labels_from or root)
    kept: list[Utterance] = []
    left_out: list[tuple[str, str]] = []
    turns = set()
    for path in audio_paths(root, search):
        utt, parts = stem_of(path), path.split(os.sep)
        if utt.startswith(".") or parts[1:3] != ["sentences", "wav"]:
            continue  # whole dialogs, and what macOS leaves behind
        turns.add(utt)
        name = _TURN_NAME.match(utt)
        label = emotions.get(utt)
        if label is None or name is None:
            left_out.append((path, "no label in EmoEvaluation"))
        elif label not in IEMOCAP_CLASSES:
            left_out.append((path, f"its label {label!r} is none of the four classes"))
        else:
            # Ses01F_impro01_M003 is spoken by the man of session 1; the first F is a camera's.
            speaker, session = f"Ses0{name[1]}{name[2]}", f"Session{name[1]}"
            emotion = IEMOCAP_CLASSES[label]
            kept.append(Utterance(utt, path, speaker, emotion=emotion, fold=session))
    _require_some(kept, root, "labelled turns SessionN/sentences/wav/DIALOG/TURN.wav")
    left_out += [
        (utt, "labelled in EmoEvaluation, but there is no such audio")
        for utt in sorted(set(emotions) - turns)
        if emotions[utt] in IEMOCAP_CLASSES
    ]
    return Corpus("iemocap", root, kept, left_out=left_out, caveats=(IEMOCAP_CAVEAT,))


def _read_evaluations(root: Path) -> dict[str, str]:
    """The three-letter label of each turn, as the evaluators agreed on it."""
    labels: dict[str, str] = {}
    for session in IEMOCAP_SESSIONS:
        folder = root / session / "dialog" / "EmoEvaluation"
        files = sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))
        if not files:
            raise PrepareError(
                f"{folder} holds no .txt: all five sessions of IEMOCAP_full_release are needed "
                "there; --labels-from names another folder that holds them"
            )
        for path in files:
            turns = filter(None, map(_TURN.match, read_lines(path)))
            labels.update((turn[1], turn[2]) for turn in turns)
    return labels


def _require_some(utterances: list[Utterance], root: Path, what: str) -> None:
    if not utterances:
        raise PrepareError(f"{root} holds none of {what}: check the folder and the label files")
