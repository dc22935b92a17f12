"""IEMOCAP: the four emotion classes and five sessions on which results are published.

Read from the user's own copy; the corpus is not distributed here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...data.text import read_lines
from .base import Corpus, PrepareError, Search, Utterance, audio_paths, require_some, stem_of

# The usual four classes; excitement counts as happiness, and all other labels are skipped.
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
    skipped: list[tuple[str, str]] = []
    turns = set()
    for path in audio_paths(root, search):
        utt, parts = stem_of(path), path.split(os.sep)
        if utt.startswith(".") or parts[1:3] != ["sentences", "wav"]:
            continue  # whole dialogs, and what macOS leaves behind
        turns.add(utt)
        name = _TURN_NAME.match(utt)
        label = emotions.get(utt)
        if label is None or name is None:
            skipped.append((path, "no label in EmoEvaluation"))
        elif label not in IEMOCAP_CLASSES:
            skipped.append((path, f"its label {label!r} is none of the four classes"))
        else:
            # Ses01F_impro01_M003 is spoken by the man of session 1; the first F is a camera's.
            speaker, session = f"Ses0{name[1]}{name[2]}", f"Session{name[1]}"
            emotion = IEMOCAP_CLASSES[label]
            kept.append(Utterance(utt, path, speaker, emotion=emotion, fold=session))
    require_some(kept, root, "labeled turns SessionN/sentences/wav/DIALOG/TURN.wav")
    skipped += [
        (utt, "labeled in EmoEvaluation, but there is no such audio")
        for utt in sorted(set(emotions) - turns)
        if emotions[utt] in IEMOCAP_CLASSES
    ]
    return Corpus("iemocap", root, kept, skipped=skipped, caveats=(IEMOCAP_CAVEAT,))


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
