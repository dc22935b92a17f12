"""The quickstart's synthesised corpus: counts, phone times, determinism, second runs.

Covers `examples/quickstart/corpus.py` and `espeak.py`; skipped where `espeakng-loader` is absent.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import prepare

pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed (extra: demo)")

SHORT = 20 / 60  # minutes; every speaker speaks at least once, so about a minute comes out


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    import corpus as module

    return module


@pytest.fixture(scope="module")
def made(corpus: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("corpus") / "made"
    assert corpus.generate(dest, minutes=SHORT, seed=3, workers=2)
    return dest


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def read_phones(made: Path) -> dict[str, list[tuple[float, float, str]]]:
    phones = defaultdict(list)
    for row in read_table(made / "phones.tsv"):
        phones[row["utt"]].append((float(row["start"]), float(row["end"]), row["phone"]))
    return phones


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names_and_bytes = (str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(b"".join(names_and_bytes)).hexdigest()


def test_table_audio_and_stamp_agree_on_every_count(corpus: ModuleType, made: Path) -> None:
    header = (made / "metadata.tsv").read_text(encoding="utf-8").splitlines()[0]
    assert header.replace("\t", " ") == "utt path speaker sex emotion fold num_samples split text"
    rows = read_table(made / "metadata.tsv")
    for row in rows:
        info = soundfile.info(made / row["path"])
        assert (info.samplerate, info.channels) == (16000, 1)
        assert info.frames == int(row["num_samples"])
    stamp = json.loads((made / "corpus.json").read_text(encoding="utf-8"))
    assert stamp["utterances"] == len(rows) == len(list((made / "audio").rglob("*.flac")))
    assert stamp["num_samples"] == sum(int(row["num_samples"]) for row in rows)


def test_at_least_twelve_speakers_and_none_in_two_splits(made: Path) -> None:
    splits = defaultdict(set)
    for row in read_table(made / "metadata.tsv"):
        splits[row["speaker"]].add(row["split"].replace("speaker_test", "train"))
    assert len(splits) >= 12
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "valid", "test"}


def test_the_folder_is_ready_for_all_four_evaluations(made: Path, tmp_path: Path) -> None:
    summary = prepare(PrepareOptions(source=made, dest=tmp_path / "data"))
    assert summary.labels == ["ltr", "wrd", "phn", "spk", "emo", "fold"]
    members = defaultdict(set)
    for row in read_table(made / "metadata.tsv"):
        members[row["fold"]].add((row["speaker"], row["sex"]))
    assert len(members) == 5 and sum(map(len, members.values())) == 20
    for found in members.values():
        assert sorted(sex for _, sex in found) == ["F", "F", "M", "M"]
    styles = {row["emotion"] for row in read_table(made / "metadata.tsv")}
    assert styles <= {"calm", "flat", "hurried", "lively", "plain"} and len(styles) > 1


def test_no_text_of_valid_or_test_is_spoken_in_training() -> None:
    import texts

    by_split = [set(texts.sentences_for(split, 3)) for split in ("train", "valid", "test")]
    assert sum(map(len, by_split)) == len(set.union(*by_split)) == len(texts.read_sentences())
    chance = random.Random(3)
    spoken = {
        split: set(itertools.islice(texts.texts_of("commands", split, 3, chance), 300))
        for split in ("train", "valid", "test")
    }
    assert all(len(found) > 80 for found in spoken.values())
    assert sum(map(len, spoken.values())) == len(set.union(*spoken.values()))
    words = {word for found in spoken.values() for text in found for word in text.split()}
    held_out = {word for text in spoken["test"] for word in text.split()}
    assert len(words) < 60 and held_out <= {w for text in spoken["train"] for w in text.split()}


def test_commands_are_a_corpus_with_transcripts_and_no_speaker_test(
    corpus: ModuleType, tmp_path: Path
) -> None:
    assert corpus.main(["--dest", str(tmp_path), *("--sentences", "0.1", "--commands", "0.1")]) == 0
    rows = read_table(tmp_path / "commands" / "metadata.tsv")
    assert {row["split"] for row in rows} == {"train", "valid", "test"}
    assert all(2 <= len(row["text"].split()) <= 9 for row in rows)
    assert (tmp_path / "sentences" / "corpus.json").is_file()


def test_phones_tile_each_utterance_from_its_first_to_its_last_sample(made: Path) -> None:
    phones = read_phones(made)
    for row in read_table(made / "metadata.tsv"):
        spans = phones.pop(row["utt"])
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(int(row["num_samples"]) / 16000, abs=1e-9)
        assert all(start < end for start, end, _ in spans)
        assert all(left[1] == right[0] for left, right in pairwise(spans))
        assert spans[0][2] == spans[-1][2] == "SIL"
    assert not phones


def test_silence_is_where_the_energy_is_low_and_nothing_clips(made: Path) -> None:
    phones = read_phones(made)
    levels = defaultdict(list)
    for row in read_table(made / "metadata.tsv"):
        waveform, rate = soundfile.read(made / row["path"])
        assert np.abs(waveform).max() < 0.999
        for start, end, label in phones[row["utt"]]:
            power = np.mean(waveform[round(start * rate) : round(end * rate)] ** 2)
            levels[label].append(10 * np.log10(power + 1e-12))
    silence = np.percentile(levels.pop("SIL"), 95)
    # The noise floor lies at -66 dB or below; vowels in the softest style stay above -45 dB.
    assert silence < -60
    assert min(np.median(found) for found in levels.values()) > silence + 6
    assert np.median(levels["AA"]) > silence + 25


def test_second_run_does_nothing_unless_a_file_is_missing_and_then_gives_the_same_bytes(
    corpus: ModuleType, made: Path
) -> None:
    before = digest(made)
    assert not corpus.generate(made, minutes=SHORT, seed=3)
    next((made / "audio").rglob("*.flac")).unlink()
    assert corpus.generate(made, minutes=SHORT, seed=3, workers=1)  # the first run had two
    assert digest(made) == before


def test_a_folder_with_something_else_in_it_is_refused(corpus: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(FileExistsError, match="holds something else"):
        corpus.generate(tmp_path, minutes=SHORT)
    with pytest.raises(ValueError, match="minutes must be above 0"):
        corpus.generate(tmp_path / "new", minutes=0)


def test_stop_begins_with_its_closure_and_a_marker_takes_no_time(corpus: ModuleType) -> None:
    import espeak

    samples = np.full(1000, 5000, dtype=np.int16)
    samples[450:600] = 0
    samples[900:] = 0
    events = [(0, "'A:"), (600, "k"), (700, ";"), (900, "_:"), (950, "_")]
    found = [dataclasses.astuple(phone) for phone in espeak.phones_from_events(events, samples)]
    assert found == [(0, 450, "AA"), (450, 900, "K"), (900, 1000, "SIL")]
    with pytest.raises(ValueError, match="no ARPAbet entry"):
        espeak.arpabet("Q7")
