"""Result files: found, and named where they are corrupt, foreign or of two kinds."""

import json

import fabricated as fab
import pytest
from tables import cell_of, table_of

from mgf_fairseq.evaluation.result_files import ResultError
from mgf_fairseq.report.collect import collect


def test_tasks_of_one_representation_may_come_from_two_places(tmp_path):
    fab.write_folder(tmp_path / "one", fab.upstream("all"), fab.probed("phone", 40.0))
    fab.write_folder(tmp_path / "two", fab.upstream("all"), fab.probed("speaker", 80.0))
    table = table_of(tmp_path / "one", tmp_path / "two")
    assert [row.label for row in table.rows] == ["all"]
    assert cell_of(table, "all", "phone", "accuracy").mean == pytest.approx(40.0)
    assert cell_of(table, "all", "speaker", "accuracy").mean == pytest.approx(80.0)


def test_of_a_task_that_was_evaluated_twice_the_later_one_counts(tmp_path):
    old = fab.probed("phone", 40.0)
    new = fab.probed("phone", 44.0, date="2026-11-26T08:00:00+00:00")
    fab.write_folder(tmp_path / "one", fab.upstream("all"), new)
    fab.write_folder(tmp_path / "two", fab.upstream("all"), old)
    table = table_of(tmp_path / "one", tmp_path / "two")
    assert cell_of(table, "all", "phone", "accuracy").mean == pytest.approx(44.0)
    assert any("evaluated twice" in note for note in table.notes)


def test_a_folder_without_results_is_refused(tmp_path):
    (tmp_path / "some").mkdir()
    with pytest.raises(ResultError, match="holds no results"):
        collect([tmp_path])
    with pytest.raises(ResultError, match="is no folder"):
        collect([tmp_path / "gone"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ('{"accuracy": 3}', "is of format None"),
        (json.dumps({"format": 1}), "lacks"),
    ],
)
def test_a_corrupt_or_foreign_file_is_named(tmp_path, content, reason):
    folder = fab.write_folder(tmp_path, fab.upstream("all"))
    (folder / "phone.json").write_text(content)
    with pytest.raises(ResultError, match=rf"phone\.json.*{reason}"):
        collect([tmp_path])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chosen": 9}, "chosen=9"),
        ({"confusion": [[1, 2]]}, "confusion matrix does not fit the 40 classes"),
        ({"layer_weights": [0.5, 0.5]}, "2 layer weights"),
        ({"metric": "f1"}, "no values of its metric 'f1'"),
    ],
)
def test_a_result_whose_parts_do_not_fit_is_named(tmp_path, changes, reason):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("phone", 40.0, **changes))
    with pytest.raises(ResultError, match=rf"phone\.json: .*{reason}"):
        collect([tmp_path])
