"""Labels from names and columns."""

from __future__ import annotations

import pytest
from written import lines, run_whole, write_audio

from mgf_fairseq.prepare.corpora.base import PrepareError, Search


def test_labels_come_from_names_and_each_has_a_dictionary(tmp_path, corpus):
    for name in ("yes_anna_1", "no_anna_2", "yes_bo_1", "odd"):
        write_audio(tmp_path / "k" / f"{name}.wav")
    pattern = r"(?P<word>[a-z]+)_(?P<speaker>[a-z]+)_\d"
    summary = run_whole(tmp_path / "k", tmp_path / "d", label_from=pattern)
    assert summary.labels == ["spk", "word"]
    assert lines(tmp_path / "d/train.word") == ["no", "yes", "yes"]
    assert lines(tmp_path / "d/train.spk") == ["anna", "anna", "bo"]
    assert lines(tmp_path / "d/dict.word.txt") == ["yes 2", "no 1"]
    assert summary.skipped == [("odd.wav", "its path does not fit --label-from")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_from": "("}, "no regular expression"),
        ({"label_from": "a"}, "names no group"),
        ({"label_from": "(?P<zz>zz)"}, "fits none of the paths"),
        ({"label_from": "(?P<wav>a)"}, "ending of other files"),
        ({"search": Search(labels={"lang": "lang"})}, "belongs to --corpus"),
        ({"search": Search(labels={"a b": "lang"})}, "letters, digits"),
    ],
)
def test_a_label_that_cannot_be_made_is_refused(corpus, tmp_path, options, words):
    with pytest.raises(PrepareError, match=words):
        run_whole(corpus, tmp_path / "d", **options)


def test_a_row_without_the_label_asked_for_is_skipped_and_merged_classes_are_named(
    corpus, tmp_path
):
    (corpus / "metadata.csv").write_text(
        "path,mood\na.wav,very sad\nb.wav,very_sad\nc.wav,\nd.wav,glad\n"
    )
    summary = run_whole(corpus, tmp_path / "d", search=Search(labels={"mood": "mood"}))
    assert lines(tmp_path / "d/train.mood") == ["very_sad", "very_sad", "glad"]
    assert summary.skipped == [("c.wav", "it has no mood")]
    assert any("become one class" in note for note in summary.notes)


def test_stock_fairseq_classifies_by_a_label_of_a_column(corpus, tmp_path):
    from fairseq.tasks.audio_classification import (
        AudioClassificationConfig,
        AudioClassificationTask,
    )
    from omegaconf import OmegaConf

    (corpus / "metadata.csv").write_text("path,mood\na.wav,sad\nb.wav,glad\nc.wav,sad\n")
    run_whole(corpus, tmp_path / "d", search=Search(labels={"mood": "mood"}))
    given = AudioClassificationConfig(data=str(tmp_path / "d"), labels="mood")
    whole = OmegaConf.create({"task": given, "common": {"tpu": False, "seed": 1}})
    task = AudioClassificationTask.setup_task(whole.task)
    task.load_dataset("train")
    assert [int(task.dataset("train")[row]["label"]) for row in range(3)] == [0, 1, 0]
