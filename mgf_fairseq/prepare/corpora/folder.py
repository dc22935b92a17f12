"""Folders of audio: plain, with a text file beside each recording, or in LibriSpeech's layout.

Three layouts of `mgf prepare` for which the files need no table.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .base import (
    Corpus,
    Search,
    Utterance,
    audio_paths,
    read_tolerant,
    read_tolerant_lines,
    speaker_of,
    stem_of,
    unread_audio,
    walk_files,
)

TRANSCRIPTS = ".trans.txt"
_TEXTS = (".lab", ".trn", ".textgrid", ".srt", ".vtt", ".ctm", ".eaf")  # of other programs
_OURS = ("dict.", "skipped.txt", "caveats.txt")  # what `mgf prepare` writes, here say
_EXAMPLES = 3


def read_folder(source: Path, search: Search) -> Corpus:
    """Any tree of audio files; the speaker is a part of the path where a level is given."""
    root = Path(os.path.realpath(source))
    utterances = [
        Utterance(stem_of(path), path, speaker_of(path, search.speaker_level))
        for path in audio_paths(root, search)
    ]
    paths = list(walk_files(root))
    notes = _lonely_texts(paths, {os.path.splitext(item.path)[0] for item in utterances})
    return Corpus("folder", root, utterances, left_out=unread_audio(paths), notes=tuple(notes))


def _lonely_texts(paths: Sequence[str], stems: set[str]) -> list[str]:
    """A note on text files that are no transcripts of the audio: another kind, or another name."""
    unread = [
        path
        for path in paths
        if not os.path.basename(path).startswith(_OURS)
        and path.lower().endswith((".txt", *_TEXTS))
        and not (path.lower().endswith(".txt") and os.path.splitext(path)[0] in stems)
    ]
    if not unread:
        return []
    shown = ", ".join(map(repr, unread[:_EXAMPLES]))
    return [
        f"{len(unread)} text file(s) are not read: {shown}; a transcript is a .txt beside its "
        "audio file, of the same name"
    ]


def read_wav_txt(source: Path, search: Search) -> Corpus:
    """Audio files, each beside a .txt (in any case) of the same name that holds its transcript."""
    corpus = read_folder(source, search)
    texts = {
        os.path.splitext(path)[0]: path
        for path in walk_files(corpus.root)
        if path.lower().endswith(".txt")
    }
    utterances = []
    left_out = list(corpus.left_out)
    for item in corpus.utterances:
        beside = texts.get(os.path.splitext(item.path)[0])
        try:
            text = None if beside is None else read_tolerant(corpus.root / beside)
        except OSError as error:
            left_out.append((item.path, f"its transcript cannot be read: {error}"))
            continue
        text = None if text is None else " ".join(text.split())
        utterances.append(Utterance(item.utt, item.path, item.speaker, text))
    return replace(corpus, layout="wav-txt", utterances=utterances, left_out=left_out)


def read_librispeech(source: Path, search: Search) -> Corpus:
    """`<speaker>/<chapter>/<utt>.flac` with `<speaker>-<chapter>.trans.txt`, any subset(s)."""
    root = Path(os.path.realpath(source))
    transcripts: dict[str, dict[str, str]] = {}
    left_out = unread_audio(walk_files(root))
    utterances = []
    for path in audio_paths(root, search):
        folder = os.path.dirname(path)
        if folder not in transcripts:
            transcripts[folder], twice = _read_transcripts(root / folder)
            left_out += [(os.path.join(folder, utt), reason) for utt, reason in twice]
        utt = stem_of(path)
        level = search.speaker_level
        speaker = speaker_of(path, level) if level is not None else utt.split("-")[0]
        utterances.append(Utterance(utt, path, speaker, transcripts[folder].get(utt)))
    return Corpus("librispeech", root, utterances, left_out=left_out)


def _read_transcripts(folder: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """All `utt WORDS ...` lines of the folder's .trans.txt files, and those with two texts.

    A line without words is an empty transcript. Of two texts for one name neither is taken.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(TRANSCRIPTS):
            for line in read_tolerant_lines(path):
                utt, _, text = line.strip().partition(" ")
                if utt:
                    found[utt].add(" ".join(text.split()))
    texts = {utt: next(iter(said)) for utt, said in found.items() if len(said) == 1}
    reason = "two different transcripts in its folder, so neither is taken"
    return texts, [(utt, reason) for utt, said in found.items() if len(said) > 1]
