"""mgf extract: what it writes, what it says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.cli import main
from mgf_fairseq.cli.extract import shards
from mgf_fairseq.data.manifest import read_manifest


def extract(checkpoint: object, dest: Path, *options: object) -> int:
    words = ["extract", "--checkpoint", checkpoint, "--dest", dest, "--device", "cpu", *options]
    return main([str(word) for word in words])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return mgf_checkpoint(tmp_path / "ck.pt")


def test_numpy_alone_reads_what_it_writes(
    tmp_path: Path, corpus: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests = [corpus / "train.tsv", corpus / "valid.tsv"]
    options = ["--layers", "1", "last", "--dtype", "float16"]
    assert extract(checkpoint, tmp_path / "out", "--manifest", *manifests, *options) == 0
    printed = capsys.readouterr().out
    assert "train: 12 utterances" in printed and "valid: 4 utterances" in printed
    for split, count in (("train", 12), ("valid", 4)):
        folder = tmp_path / "out" / split
        assert {path.name for path in folder.iterdir()} == {
            *("layer_1.npy", "layer_2.npy", "lengths.npy", "rows.npy", "features.json")
        }
        lengths, frames = np.load(folder / "lengths.npy"), np.load(folder / "layer_2.npy")
        assert frames.shape == (lengths.sum(), 16) and frames.dtype == np.float16
        assert np.load(folder / "rows.npy").tolist() == list(range(count))
        summary = json.loads((folder / "features.json").read_text())
        assert (summary["utterances"], summary["frames"]) == (count, len(frames))
        assert summary["upstream"]["kind"] == "mgf" and summary["left_out"] == []


def test_shards_together_are_the_whole(tmp_path: Path, corpus: Path, checkpoint: Path) -> None:
    manifest = corpus / "train.tsv"
    assert extract(checkpoint, tmp_path / "one", "--manifest", manifest) == 0
    options = ["--manifest", manifest, "--shard-hours", 6 / 3600]
    assert extract(checkpoint, tmp_path / "many", *options) == 0
    folders = sorted(path for path in (tmp_path / "many").iterdir() if path.name[0] != ".")
    assert [path.name for path in folders] == [f"train-{k:05d}" for k in range(len(folders))]
    assert len(folders) > 2
    for name, atol in (("rows.npy", 0), ("lengths.npy", 0), ("layer_2.npy", 1e-5)):  # fp32 rounding
        parts = np.concatenate([np.load(folder / name) for folder in folders])
        np.testing.assert_allclose(parts, np.load(tmp_path / "one" / "train" / name), atol=atol)


def test_every_shard_but_single_long_rows_is_within_its_hours(corpus: Path) -> None:
    manifest = read_manifest(corpus / "train.tsv")
    for seconds in (1.0, 3.0, 100.0):
        found = list(shards(manifest, "train", seconds / 3600, 16000))
        assert [row for _, rows in found for row in rows] == list(range(12))
        for _, rows in found:
            held = manifest.num_samples[rows.start : rows.stop].sum() / 16000
            assert held <= seconds or len(rows) == 1


def test_a_second_run_does_nothing_and_skipped_files_are_listed(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (corpus / "valid.tsv").read_text().splitlines()
    manifest = tmp_path / "mine.tsv"
    manifest.write_text("\n".join([*lines, "gone.wav\t16000"]) + "\n")
    assert extract("fbank", tmp_path / "out", "--manifest", manifest) == 0
    first = capsys.readouterr().out
    assert "skipped: line 6: " in first and "gone.wav: no such file" in first
    written = (tmp_path / "out" / "mine" / "fbank.npy").stat().st_mtime_ns
    assert extract("fbank", tmp_path / "out", "--manifest", manifest) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "out" / "mine" / "fbank.npy").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "7"], "no layer '7'; there are layer 0, layer 1, layer 2"),
        (["--batch-seconds", "0"], "--batch-seconds 0 must be above 0"),
        (["--shard-hours", "-1"], "--shard-hours -1 must be above 0"),
        (["--checkpoint", "absent.pt"], "absent.pt: no such checkpoint file"),
        (["--manifest", "absent.tsv"], "absent.tsv does not exist"),
        (["--device", "cuda:9"], "no CUDA device"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    tmp_path: Path,
    corpus: Path,
    checkpoint: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    manifest = ["--manifest", corpus / "valid.tsv"]
    assert extract(checkpoint, tmp_path / "out", *manifest, *options) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_manifests_of_one_name_are_refused(
    tmp_path: Path, corpus: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [corpus / "valid.tsv", corpus / "valid.tsv"]
    assert extract(checkpoint, tmp_path / "out", "--manifest", *twice) == 2
    assert "two manifests are called 'valid'" in capsys.readouterr().err


def test_other_features_in_the_way_are_kept_unless_asked(
    tmp_path: Path, corpus: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = ["--manifest", corpus / "valid.tsv"]
    assert extract("fbank", tmp_path / "out", *manifest) == 0
    assert extract(checkpoint, tmp_path / "out", *manifest) == 2
    assert "holds features of another upstream and layers" in capsys.readouterr().err
    assert extract(checkpoint, tmp_path / "out", *manifest, "--overwrite") == 0
    assert not (tmp_path / "out" / "valid" / "fbank.npy").exists()
