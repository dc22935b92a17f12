"""A label of the corpus as a task of its own."""

import prepared
import pytest
from planted import ONE

from mgf_fairseq.evaluation.labeled import ProbeError
from mgf_fairseq.evaluation.probing import plan_probe

pytestmark = pytest.mark.usefixtures("short_epochs")


def test_a_label_of_the_corpus_is_learned_on_train_and_scored_on_test(languages, probe):
    plan, run = probe("lang", languages, "lang")
    result = run.result
    assert result.data.classes == ["de", "fa", "ku"]
    assert result.representations[1].test == {"accuracy": [100.0] * 2, "uar": [100.0] * 2}
    assert result.chance["uar"] == pytest.approx(100 / 3)
    assert sum(map(sum, result.confusion)) == 24 and result.data.test.items == 12
    assert plan.task.protocol["disjoint"] == "no recording and no speaker in two splits"
    assert result.interval_over == "3 speakers"


def test_speakers_that_splits_of_a_label_share_are_said_in_the_result(languages, probe):
    (languages / "test.spk").write_text("train-a0\n" * 12)
    _, run = probe("lang", languages, "lang", ONE)
    assert "1 of 1 speakers of test are in train or valid too" in run.result.data.note
    for path in languages.glob("*.spk"):
        path.unlink()
    _, run = probe("lang", languages, "lang", ONE)
    assert "speakers are not known" in run.result.data.note


def test_a_label_is_cross_validated_by_fold_or_by_speaker_where_splits_do_not_do(languages, probe):
    (languages / "test.lang").unlink()
    plan, run = probe("lang", languages, "lang", ONE)
    assert "leave one speaker out (9 folds), over train, valid" in plan.task.protocol["splits"]
    assert run.result.metric == "accuracy"
    for name, count in (("train", 24), ("valid", 12)):
        (languages / f"{name}.fold").write_text("".join(f"{k // 3 % 4}\n" for k in range(count)))
        (languages / f"{name}.spk").unlink()  # folds alone are enough
    plan, _ = probe("lang", languages, "lang", ONE)
    assert "leave one fold out (4 folds)" in plan.task.protocol["splits"]
    assert "speakers are not known" in plan.task.protocol["disjoint"]


def test_a_class_that_train_lacks_is_refused_by_name(languages, tmp_path):
    (languages / "valid.lang").write_text("sv\n" * 12)
    with pytest.raises(ProbeError, match="'sv' for one"):
        plan_probe("lang", prepared.upstream(), languages, tmp_path / "cache", ONE)
