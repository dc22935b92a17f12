"""The emotion task: speakers or folds that are held out once each."""

import pytest
from planted import ONE, spoil_features

from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.results import CHOSEN_PER_FOLD

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_emotion_leaves_one_speaker_out_and_chooses_in_each_fold(emotions, probe):
    plan, run = probe("emotion", emotions, "emo")
    result = run.result
    assert "leave one speaker out (4 folds)" in plan.task.protocol["splits"]
    names = [item.name for item in result.representations]
    assert names[:2] == ["layer 0, mean", "layer 0, mean+std"] and names[-1] == CHOSEN_PER_FOLD
    assert result.chosen == len(names) - 1 and result.metric == "uar"
    assert result.representations[2].test["uar"] == [100.0, 100.0]
    assert result.representations[-1].test["uar"] == [100.0, 100.0]
    assert result.data.test.utterances == 24 and result.chance["uar"] == 50.0
    assert run.embeddings.vectors.shape[0] == 24 and set(run.embeddings.labels) == {"anger", "joy"}


def test_a_nan_in_features_is_an_error_that_names_task_layer_and_fold(emotions, probe, monkeypatch):
    spoil_features(monkeypatch)
    where = r"emotion: layer 1, mean, with speaker a held out: the features of 2 of 24 utterances"
    with pytest.raises(ProbeError, match=where):
        probe("emotion", emotions, "emo", ONE)


def test_emotion_takes_the_folds_that_the_corpus_has(emotions, probe):
    for name, who in {"train": "112", "valid": "3"}.items():
        (emotions / f"{name}.fold").write_text("".join(f"{s}\n" * 6 for s in who))
    plan, _ = probe("emotion", emotions, "emo", ONE)
    assert "leave one fold out (3 folds)" in plan.task.protocol["splits"]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda d: (d / "valid.tsv").unlink(), None),
        (
            lambda d: (d / "valid.emo").write_text("fear\n" * 6),
            "'fear' comes from speaker 'd' alone",
        ),
        (lambda d: (d / "train.spk").write_text("a\n" * 18), "2 speaker.*at least 3"),
        (lambda d: (d / "valid.fold").write_text("1\n" * 6), "some splits have .fold"),
        (lambda d: (d / "train.emo").write_text("\n" * 18), "line 1 is empty"),
    ],
)
def test_emotion_data_that_cannot_be_scored_fairly_is_refused(emotions, probe, spoil, named):
    spoil(emotions)
    if named is None:  # three speakers are enough
        probe("emotion", emotions, "emo", ONE)
        return
    with pytest.raises(ProbeError, match=named):
        probe("emotion", emotions, "emo")


def test_a_speaker_in_two_folds_is_refused(emotions, probe):
    for name, folds in {"train": "112", "valid": "3"}.items():
        (emotions / f"{name}.fold").write_text("".join(f"{f}\n" * 6 for f in folds))
    (emotions / "train.spk").write_text("a\n" * 18)
    with pytest.raises(ProbeError, match="speaker a is in the folds 1 and 2"):
        probe("emotion", emotions, "emo")
