"""Splits: by speaker, by a list, and which are refused."""

import pytest
from written import lines, make_audio, names, run

from mgf_fairseq.prepare.corpora.base import PrepareError, Search


def test_a_split_by_speaker_shares_no_speaker(folder, tmp_path):
    options = {"split_by": "speaker", "valid_percent": 0.25, "test_percent": 0.25}
    run(folder, tmp_path / "o", search=Search(speaker_level=1), **options)
    speakers = {
        split: {name[0] for name in names(tmp_path / "o", split)}
        for split in ("train", "valid", "test")
    }
    assert {split: len(found) for split, found in speakers.items()} == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    assert set.union(*speakers.values()) == set("abcd")


def test_a_split_list_decides_and_the_others_are_listed_as_skipped(folder, tmp_path):
    (tmp_path / "list").write_text("a0 train\na/a1.wav\tdev\n")
    summary = run(folder, tmp_path / "o", split_list=tmp_path / "list")
    assert names(tmp_path / "o", "train") == ["a0"] and names(tmp_path / "o", "dev") == ["a1"]
    assert len(summary.skipped) == 18
    assert lines(tmp_path / "o" / "skipped.txt")[1] == "a/a2.wav\tnot in the split list"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("a0\n", "expected"),
        ("a0 train\na0 valid\n", "two splits"),
        ("a0 ../x\n", "cannot name a split"),
        ("zz train\n", "names none"),
    ],
)
def test_a_wrong_split_list_is_refused(folder, tmp_path, content, words):
    (tmp_path / "list").write_text(content)
    with pytest.raises(PrepareError, match=words):
        run(folder, tmp_path / "o", split_list=tmp_path / "list")


def test_too_few_files_or_speakers_to_split_are_refused(tmp_path):
    make_audio(tmp_path / "in" / "s" / "a.wav")
    with pytest.raises(PrepareError, match="valid-percent 0"):
        run(tmp_path / "in", tmp_path / "o")
    with pytest.raises(PrepareError, match="1 speaker"):
        run(tmp_path / "in", tmp_path / "o", split_by="speaker", search=Search(speaker_level=1))
