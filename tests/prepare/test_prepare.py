"""mgf prepare: corpora on disk become manifests and labels, the same every time."""

import os
from pathlib import Path

import pytest
from written import lines, make_audio, names, run

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.labels import LabelError


@pytest.fixture
def table(tmp_path):
    """A table with every column, and phones."""
    rows = ["utt\tpath\tspeaker\temotion\tsplit\ttext"]
    phones = ["utt\tstart\tend\tlabel"]
    for number in range(6):
        make_audio(tmp_path / "t" / "audio" / f"u{number}.wav", 4000)
        split = "train" if number < 4 else "test"
        rows.append(f"u{number}\taudio/u{number}.wav\ts{number % 2}\tjoy\t{split}\tSo  it is")
        if number != 3:
            phones += [
                f"u{number}\t0.0\t0.1\tS",
                f"u{number}\t0.1\t0.15\t",
                f"u{number}\t0.2\t1\tI",
            ]
    (tmp_path / "t" / "metadata.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "t" / "phones.tsv").write_text("\n".join(phones) + "\n")
    return tmp_path / "t"


def contents(dest):
    return {path.name: path.read_bytes() for path in sorted(dest.iterdir())}


def test_a_folder_becomes_manifests_that_hold_every_file_once(folder, tmp_path):
    summary = run(folder, tmp_path / "out", valid_percent=0.2, test_percent=0.1)
    found = {split: names(tmp_path / "out", split) for split in ("train", "valid", "test")}
    assert {split: len(found[split]) for split in found} == {"train": 14, "valid": 4, "test": 2}
    everyone = sorted(name for members in found.values() for name in members)
    assert everyone == [f"{speaker}{number}" for speaker in "abcd" for number in range(5)]
    assert [item.utterances for item in summary.splits] == [14, 4, 2]
    manifest = read_manifest(tmp_path / "out" / "train.tsv")
    assert manifest.root == Path(os.path.realpath(folder))
    for row, path in enumerate(manifest.paths):
        assert manifest.num_samples[row] == 8000 + int(Path(path).stem[1:])


def test_the_same_call_writes_the_same_bytes_and_the_seed_changes_them(table, tmp_path):
    options = {"split_by": "fraction", "valid_percent": 0.3, "labels": ("ltr", "spm")}
    run(table, tmp_path / "a", spm_vocab_size=10, workers=1, **options)
    run(table, tmp_path / "b", spm_vocab_size=10, workers=4, **options)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    run(table, tmp_path / "a", spm_vocab_size=10, **options)
    assert first == contents(tmp_path / "a")
    splits = set()
    for seed in range(5):
        run(table, tmp_path / "c", seed=seed, spm_vocab_size=10, **options)
        splits.add(contents(tmp_path / "c")["valid.tsv"])
    # 15 pairs of 6 utterances: five equal draws have a chance of 15 ** -4.
    assert len(splits) > 1


def test_long_recordings_become_segments_that_tile_them_in_one_split(tmp_path):
    for number in range(4):
        make_audio(tmp_path / "in" / f"r{number}.wav", 44100 * 2 + number, 44100)
    summary = run(tmp_path / "in", tmp_path / "o", segment_seconds=0.7, valid_percent=0.25)
    for split, recordings in (("train", 3), ("valid", 1)):
        manifest = read_manifest(tmp_path / "o" / f"{split}.tsv")
        assert len(manifest) == 3 * recordings
        for first in range(0, len(manifest), 3):
            position = 0
            for row in range(first, first + 3):
                entry, count = manifest.paths[row], manifest.num_samples[row]
                path, start, length = entry.rsplit(":", 2)
                assert int(start) == position and int(length) <= 0.7 * 44100
                assert count == round(int(length) * 16000 / 44100)
                position += int(length)
            assert position == 44100 * 2 + int(path[1])
    assert summary.resampled == 4


def test_a_table_keeps_its_splits_and_gives_every_label(table, tmp_path):
    out = tmp_path / "o"
    summary = run(table, out)
    assert summary.layout == "table"
    assert summary.labels == ["ltr", "wrd", "phn", "spk", "emo"]
    assert names(out, "train") == ["u0", "u1", "u2", "u3"] and names(out, "test") == ["u4", "u5"]
    assert lines(out / "train.wrd") == ["SO IT IS"] * 4
    assert lines(out / "test.spk") == ["s0", "s1"]
    assert lines(out / "dict.emo.txt") == ["joy 4"]
    phones = lines(out / "train.phn")
    assert phones[3].split() == ["-"] * STANDARD_GRID.num_frames(4000)
    assert any("no phone segments" in note for note in summary.notes)
    assert len(phones[0].split()) == STANDARD_GRID.num_frames(4000)
    # Centers at 12.5 ms + 20 ms t: the empty label continues S up to 150 ms, I starts at 200 ms.
    assert phones[0].split() == ["S"] * 7 + ["-"] * 3 + ["I"] * 2
    assert lines(out / "dict.phn.txt") == ["S 21", "I 6"]


def test_files_that_cannot_be_read_are_listed_with_the_reason(folder, tmp_path):
    (folder / "a" / "broken.wav").write_bytes(b"no audio")
    make_audio(folder / "a" / "empty.wav", 0)
    make_audio(folder / "a" / "cut.wav", 8000)
    os.truncate(folder / "a" / "cut.wav", 9000)
    make_audio(folder / "a" / "tab\there.wav")
    make_audio(folder / "a" / "eight.wav", 4000, 8000)
    make_audio(folder / "a" / "stereo.wav", 4000, 16000, 2)
    summary = run(folder, tmp_path / "o")
    reasons = dict(line.split("\t") for line in lines(tmp_path / "o" / "skipped.txt")[1:])
    assert reasons["a/broken.wav"].startswith("not an audio file")
    assert reasons["a/empty.wav"] == "the file holds no samples"
    assert reasons["a/cut.wav"].startswith("truncated")
    assert len(reasons) == 4 == len(summary.skipped)
    assert (summary.resampled, summary.down_mixed) == (1, 1)
    assert sum(item.utterances for item in summary.splits) == 22
    counts = {}
    for split in ("train", "valid"):
        manifest = read_manifest(tmp_path / "o" / f"{split}.tsv")
        counts.update(zip(manifest.paths, manifest.num_samples.tolist(), strict=True))
    assert counts["a/eight.wav"] == 8000


def test_extension_and_fragment_choose_files(folder, tmp_path):
    make_audio(folder / "x.flac")
    run(folder, tmp_path / "o", search=Search(extensions=("flac",)), valid_percent=0)
    assert names(tmp_path / "o", "train") == ["x"]
    run(folder, tmp_path / "o", search=Search(path_must_contain="/b/"), valid_percent=0)
    assert names(tmp_path / "o", "train") == [f"b{n}" for n in range(5)]


def test_manifests_of_an_earlier_run_are_pointed_out(folder, tmp_path):
    run(folder, tmp_path / "o", test_percent=0.1)
    notes = run(folder, tmp_path / "o").notes
    assert any("test.tsv" in note and "earlier run" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"valid_percent": 5.0}, "valid_percent=5.0"),
        ({"valid_percent": 0.6, "test_percent": 0.6}, "more than 1"),
        ({"workers": 0}, "workers=0"),
        ({"segment_seconds": 0.0}, "segment_seconds=0"),
        ({"labels": ("lrt",)}, "choose from ltr"),
        ({"layout": "libri"}, "choose auto"),
        ({"split_by": "speaker"}, "--speaker-level"),
        ({"search": Search(extensions=("mp3",))}, "no audio file"),
        ({"labels": ("spk",)}, "--speaker-level"),
        ({"labels": ("phn",)}, "no phones.tsv"),
        ({"labels": ("ltr",)}, "no transcript"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_fix(folder, tmp_path, options, words):
    with pytest.raises(PrepareError, match=words):
        run(folder, tmp_path / "o", **options)


def test_cut_recordings_take_no_transcript(librispeech, tmp_path):
    assert run(librispeech, tmp_path / "o", segment_seconds=0.2).labels == ["spk"]
    with pytest.raises(PrepareError, match="segment-seconds"):
        run(librispeech, tmp_path / "o", segment_seconds=0.2, labels=("ltr",))


def test_too_large_a_subword_vocabulary_is_refused(librispeech, tmp_path):
    with pytest.raises(LabelError, match="give at most"):
        run(librispeech, tmp_path / "o", labels=("spm",), spm_vocab_size=4000)


@pytest.mark.parametrize(
    ("content", "words"),
    [("utt\tplace\na\ta.wav\n", "no column path"), ("utt\tpath\n\ta.wav\n", "line 2")],
)
def test_a_wrong_table_is_refused(tmp_path, content, words):
    (tmp_path / "metadata.tsv").write_text(content)
    with pytest.raises(PrepareError, match=words):
        run(tmp_path, tmp_path / "o")


def test_a_source_that_does_not_exist_is_named(tmp_path):
    for layout in ("auto", "folder", "table"):
        with pytest.raises(PrepareError, match="nowhere does not exist"):
            run(tmp_path / "nowhere", tmp_path / "o", layout=layout)
