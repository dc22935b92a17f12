"""Files that cannot be read or used: skipped by name, or refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from datasets import RATE, dataset, write
from fairseq.data.iterators import EpochBatchIterator

from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.data.manifest import Manifest
from mgf_fairseq.host.iterators import MgfBatchIterator


def nan(path: Path) -> None:
    soundfile.write(path, np.full(20000, np.nan), RATE, subtype="FLOAT")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def no_audio(path: Path) -> None:
    path.write_text("this is no audio\n" * 100)


def missing(path: Path) -> None:
    path.unlink()


def shorter(path: Path) -> None:
    soundfile.write(path, np.zeros(5000), RATE)


def another(path: Path) -> None:
    """Longer by what no resampling rounds."""
    soundfile.write(path, np.zeros(20100), RATE)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [nan, truncated, no_audio, missing, shorter, another, empty])
def test_a_bad_file_is_skipped_named_and_counted(tmp_path, caplog, spoil):
    names = ("good.wav", "bad.wav", "fine.wav")
    files = {name: (tiny.speech_like(1.25, n), RATE) for n, name in enumerate(names)}
    items = dataset(write(tmp_path, files))
    spoil(tmp_path / "bad.wav")
    with caplog.at_level(logging.WARNING):
        batch = items.collater([items[index] for index in range(3)])
    assert batch["num_skipped"] == 1
    assert batch["net_input"]["utterance"].tolist() == [0, 0, 2, 2]
    assert batch["net_input"]["row_id"].tolist() == [0, 1, 4, 5]
    (message,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert str(tmp_path / "bad.wav") in message and "skipped" in message
    assert items.collater([items[1]]) == {}
    # It is counted with the next batch that trains, not in the dummy that takes its place.
    iterator = EpochBatchIterator(items, items.collater, [[1], [0]])
    iterator.__class__ = MgfBatchIterator
    assert iterator.first_batch["num_skipped"] == 0
    assert items.collater([items[2]])["num_skipped"] == 1


def test_a_moved_root_is_refused_by_name(tmp_path):
    task = tiny.tiny_task(tmp_path)
    (tmp_path / "train.tsv").write_text("/nowhere/at/all\na.wav\t20000\nb.wav\t20000\n")
    with pytest.raises(ValueError, match=r"/nowhere/at/all.*mgf prepare"):
        task.load_dataset("train")


def test_files_outside_of_the_root_do_not_show_that_it_has_not_moved(tmp_path):
    (tmp_path / "root").mkdir()
    soundfile.write(tmp_path / "a.wav", np.zeros(20000), RATE)
    lines = f"{tmp_path}/root\n../a.wav\t20000\nx/../gone.wav\t20000\n"
    (tmp_path / "train.tsv").write_text(lines)
    with pytest.raises(ValueError, match=r"none of 1 files tried exists, such as .*root/gone\.wav"):
        tiny.tiny_task(tmp_path).load_dataset("train")


def test_a_missing_manifest_is_refused_by_name(tmp_path):
    with pytest.raises(ManifestError, match=r"train\.tsv does not exist"):
        tiny.tiny_task(tmp_path).load_dataset("train")


def test_short_utterances_are_skipped_with_a_warning_where_they_are_many(tmp_path, caplog):
    files = {"long.wav": (np.zeros(36000), RATE), "short.wav": (np.zeros(7999), RATE)}
    with caplog.at_level(logging.INFO):
        items = dataset(write(tmp_path, files))
    assert len(items) == 1 and items.lines.tolist() == [0]
    (record,) = (r for r in caplog.records if "min_sample_size" in r.getMessage())
    message = record.getMessage()
    assert "1 of 2 utterances" in message and " h)" in message
    assert "task.min_sample_size=8000 samples (0.50 s)" in message and "lower" in message
    assert record.levelno == logging.WARNING
    caplog.clear()
    many = Manifest(tmp_path, ["long.wav"] * 39 + ["short.wav"], np.array([36000] * 39 + [7999]))
    settings = {"sample_rate": RATE, "normalize": True, "shuffle": True, "seed": 1}
    with caplog.at_level(logging.INFO):
        MgfDataset(many, Crops(2, 16000, 8000), num_buckets=0, **settings)
    (record,) = (r for r in caplog.records if "min_sample_size" in r.getMessage())
    assert record.levelno == logging.INFO and "1 are shorter" in record.getMessage()


def test_a_word_of_a_quarter_of_a_second_is_trained_by_default(tmp_path):
    write(tmp_path, {"digit.wav": (tiny.speech_like(0.25, 1), RATE)})
    task = tiny.tiny_task(tmp_path)
    task.load_dataset("train")
    views = task.dataset("train")[0]["views"]
    assert [len(view) for view in views] == [4000, 4000]


def test_a_manifest_of_short_utterances_only_is_refused(tmp_path):
    write(tmp_path, {"short.wav": (np.zeros(3999), RATE)})
    with pytest.raises(ManifestError, match=r"min_sample_size=4000"):
        tiny.tiny_task(tmp_path).load_dataset("train")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"views": 0, "max_samples": 10, "min_samples": 5}, "views=0"),
        ({"views": 2, "max_samples": 10, "min_samples": 11}, "min_sample_size=11"),
        ({"views": 2, "max_samples": 10, "min_samples": 0}, "min_sample_size=0"),
    ],
)
def test_impossible_crops_are_refused_by_name(values, named):
    with pytest.raises(ValueError, match=named):
        Crops(**values)
