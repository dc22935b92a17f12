"""Marks of training recordings: in checkpoints, of the content, and looked up by evaluations."""

import shutil

import pytest
import tiny
import torch

from mgf_fairseq.checkpoints import pretraining_data
from mgf_fairseq.checkpoints.pretraining_data import (
    KEY,
    look_up,
    note_training_data,
    read_marks,
    recall_training_data,
    recordings_of,
)
from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.data.manifest import read_manifest


@pytest.fixture
def corpus(tmp_path):
    """12 recordings to train on and 4 that are not."""
    return tiny.write_corpus(tmp_path / "corpus")


def marks_of(corpus):
    state = {}
    note_training_data(state, read_manifest(corpus / "train.tsv"))
    return state[KEY]


def test_a_copy_under_another_name_counts_and_other_speech_does_not(corpus, tmp_path):
    held = marks_of(corpus)
    valid = recordings_of(read_manifest(corpus / "valid.tsv"))
    assert look_up(held, valid).seen == 0
    copy = tmp_path / "copied.wav"
    shutil.copy(corpus / "audio" / "3.wav", copy)
    found = look_up(held, [*valid, str(copy), str(tmp_path / "gone.wav")])
    assert (found.recordings, found.looked_up, found.seen, found.by) == (6, 5, 1, "content")


def test_segments_of_a_recording_are_that_recording(corpus):
    lines = (corpus / "train.tsv").read_text().splitlines()
    cut = [f"{line.split(chr(9))[0]}:{start}:4000\t4000" for line in lines[1:] for start in (0, 99)]
    (corpus / "cut.tsv").write_text("\n".join([lines[0], *cut]) + "\n")
    rows = recordings_of(read_manifest(corpus / "cut.tsv"))
    assert len(rows) == 12 and look_up(marks_of(corpus), rows).seen == 12


def test_many_recordings_are_marked_by_name_without_opening_them(corpus, monkeypatch):
    monkeypatch.setattr(pretraining_data, "CONTENT_UP_TO", 11)
    monkeypatch.setattr(pretraining_data, "_content_mark", None)
    held = marks_of(corpus)
    assert look_up(held, [f"/elsewhere/{corpus.name}/audio/3.wav", "/x/y/3.wav"]).seen == 1


def test_of_more_than_fit_the_smallest_are_kept_and_what_cannot_be_looked_up_is_not_counted(
    corpus, monkeypatch
):
    monkeypatch.setattr(pretraining_data, "MOST_MARKS", 5)
    held = marks_of(corpus)
    assert len(held["content"]["marks"]) == 5 and held["content"]["complete"] is False
    found = look_up(held, recordings_of(read_manifest(corpus / "train.tsv")))
    assert (found.recordings, found.looked_up, found.seen) == (12, 5, 5)


def test_the_task_notes_what_is_trained_and_the_checkpoint_stays_safe_to_read(corpus, tmp_path):
    task = tiny.tiny_task(corpus)
    task.load_dataset("valid")
    assert KEY not in task.state_dict()
    task.load_dataset("train")
    path = tmp_path / "ck.pt"
    torch.save({"model": {}, "task_state": task.state_dict()}, path)
    assert read_checkpoint(path)["task_state"][KEY]["content"]["complete"] is True
    held = read_marks(path)
    assert held and len(held["content"]["marks"]) == 12


def test_a_training_that_is_continued_keeps_what_it_was_trained_on_before(corpus, tmp_path):
    path = tmp_path / "ck.pt"
    torch.save({"model": {}, "task_state": {KEY: marks_of(corpus)}}, path)
    (corpus / "train.tsv").write_text((corpus / "valid.tsv").read_text())  # other data now
    task = tiny.tiny_task(corpus)
    recall_training_data(task, path)
    task.load_dataset("train")
    assert len(task.state_dict()[KEY]["content"]["marks"]) == 16


@pytest.mark.parametrize(
    "held",
    [None, {}, {KEY: {}}, {KEY: 3}, {KEY: {"content": {"marks": 1}}}, {KEY: {"content": 2}}],
)
def test_a_checkpoint_without_marks_or_with_odd_ones_is_unknown(tmp_path, held):
    path = tmp_path / "ck.pt"
    torch.save({"model": {}, "task_state": held}, path)
    assert read_marks(path) is None
