"""Stretches of recordings that a table names."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare

RATE = 8000  # of the recordings; manifests count at 16 kHz


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Four recordings of 10 s whose samples count upwards, so that each shows its position."""
    for number in range(4):
        ramp = np.arange(10 * RATE) / (20 * RATE)
        soundfile.write(tmp_path / f"talk{number}.wav", ramp, RATE, subtype="FLOAT")
    return tmp_path


def write_table(folder: Path, rows: list[str], header: str = "utt\tpath\tstart\tend\ttext") -> Path:
    (folder / "metadata.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def run(source: Path, **options: object) -> Summary:
    return prepare(PrepareOptions(source=source, dest=source / "out", **options))


def test_rows_of_a_table_become_the_stretches_they_name_in_order(talks: Path) -> None:
    rows = ["b\ttalk0.wav\t4\t5.25\ttwo", "a\ttalk0.wav\t0.5\t2\tone", "c\ttalk1.wav\t\t\tall"]
    run(write_table(talks, rows), valid_percent=0)
    manifest = read_manifest(talks / "out" / "train.tsv")
    assert list(manifest.paths) == ["talk0.wav:4000:12000", "talk0.wav:32000:10000", "talk1.wav"]
    assert manifest.num_samples.tolist() == [24000, 20000, 160000]
    assert (talks / "out" / "train.wrd").read_text() == "ONE\nTWO\nALL\n"
    with AudioReader(manifest.entry(1), RATE) as reader:
        np.testing.assert_allclose(reader.read(100, 50), np.arange(32100, 32150) / (20 * RATE))


def test_all_segments_of_a_recording_lie_in_one_split(talks: Path) -> None:
    rows = [f"u{t}{n}\ttalk{t}.wav\t{n}\t{n + 1}\tx" for t in range(4) for n in range(9)]
    run(write_table(talks, rows), valid_percent=0.25, test_percent=0.25)
    found = {}
    for split in ("train", "valid", "test"):
        manifest = read_manifest(talks / "out" / f"{split}.tsv")
        found[split] = {path.split(":")[0] for path in manifest.paths}
        assert len(manifest) == 9 * len(found[split])
    assert [len(found[split]) for split in found] == [2, 1, 1]
    assert len(set.union(*found.values())) == 4


def test_segments_are_cut_further_where_they_are_too_long(talks: Path) -> None:
    write_table(talks, ["a\ttalk0.wav\t1\t7\t"])
    (talks / "phones.tsv").write_text("utt\tstart\tend\tphone\na\t0\t3\tA\na\t3\t6\tB\n")
    run(talks, segment_seconds=2, valid_percent=0)
    paths = list(read_manifest(talks / "out" / "train.tsv").paths)
    assert paths == [f"talk0.wav:{start * RATE}:{2 * RATE}" for start in (1, 3, 5)]
    # Phones count from where the utterance begins, not the recording.
    phones = [line.split() for line in (talks / "out" / "train.phn").read_text().splitlines()]
    assert set(phones[0]) == {"A"} and set(phones[1]) == {"A", "B"} and set(phones[2]) == {"B"}
    assert abs(phones[1].count("A") - phones[1].count("B")) <= 1


def test_an_end_just_beyond_the_recording_is_cut_and_others_are_skipped(talks: Path) -> None:
    rows = [
        "a\ttalk0.wav\t9\t10.05\t",
        "b\ttalk0.wav\t9\t10.2\t",
        "c\ttalk0.wav\t11\t12\t",
        "d\ttalk0.wav\t10.01\t10.02\t",
        "e\ttalk0.wav\t1\t1.00001\t",
    ]
    summary = run(write_table(talks, rows), valid_percent=0)
    assert list(read_manifest(talks / "out" / "train.tsv").paths) == ["talk0.wav:72000:8000"]
    assert [reason.split(",")[0] for _, reason in summary.skipped] == ["b", "c", "d", "e"]
    assert "not within its 10.000 s" in (talks / "out" / "skipped.txt").read_text()


@pytest.mark.parametrize(
    "row", ["a\ttalk0.wav\t1", "a\ttalk0.wav\t2\t1", "a\ttalk0.wav\t-1\t1", "a\ttalk0.wav\t0\tnan"]
)
def test_a_row_whose_stretch_is_none_is_skipped_by_line(talks: Path, row: str) -> None:
    write_table(talks, ["ok\ttalk0.wav\t0\t1\tx", row, "z\ttalk1.wav\t0\t1\tz"])
    summary = run(talks, valid_percent=0)
    assert len(read_manifest(talks / "out" / "train.tsv")) == 2
    ((where, reason),) = summary.skipped
    assert where == "metadata.tsv line 3" and "must be seconds" in reason


def test_each_recording_is_opened_once_however_many_segments_it_has(talks: Path) -> None:
    rows = [f"u{n}\ttalk{n % 2}.wav\t{n / 10}\t{n / 10 + 1}\t" for n in range(50)]
    rows += ["x\tgone.wav\t0\t1\t", "y\tgone.wav\t1\t2\t"]
    summary = run(write_table(talks, rows), valid_percent=0)
    assert summary.resampled == 2
    assert len(summary.skipped) == 1 and summary.skipped[0][0] == "gone.wav"
