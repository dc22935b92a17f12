"""The tables of the report equal what one computes by hand, and say what is missing or unequal."""

import fabricated as fab
import pytest
from tables import cell_of, table_of

from mgf_fairseq.evaluation.result_files import ResultError
from mgf_fairseq.report.collect import collect
from mgf_fairseq.report.findings import findings
from mgf_fairseq.report.page.scores_table import training_effort


def test_a_cell_is_the_mean_over_probe_seeds_with_the_deviation_of_a_sample(tmp_path):
    phone = fab.probed("phone", 40.0, seeds=(-1.0, 0.0, 4.0))
    fab.write_folder(tmp_path, fab.upstream("all"), phone)
    cell = cell_of(table_of(tmp_path), "all", "phone", "accuracy")
    assert cell.mean == pytest.approx(41.0)
    assert cell.spread == pytest.approx(7.0**0.5)  # 39, 40, 44: squares 4 + 1 + 9, over n - 1
    assert (cell.count, cell.over) == (3, "probe seeds")
    assert (cell.low, cell.high) == pytest.approx((38.8, 41.3))
    assert cell.representation == "layer 1"


def test_rows_of_a_group_average_over_pre_training_seeds(tmp_path):
    for seed, score in ((1, 50.0), (2, 53.0)):
        about = fab.upstream(f"all-s{seed}", group="all", seed=seed)
        fab.write_folder(tmp_path, about, fab.probed("phone", score, seeds=(-1.0, 1.0)))
    table = table_of(tmp_path)
    assert [row.label for row in table.rows] == ["all"]
    cell = cell_of(table, "all", "phone", "accuracy")
    assert cell.mean == pytest.approx(51.5)
    assert cell.spread == pytest.approx(4.5**0.5)  # of the two means, 50 and 53
    assert (cell.count, cell.over) == (2, "pre-training seeds")
    assert cell.single == {
        "pre-training seed 1 (all-s1)": 50.0,
        "pre-training seed 2 (all-s2)": 53.0,
    }


def test_one_seed_has_no_spread(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("phone", 40.0, seeds=(0.0,)))
    assert cell_of(table_of(tmp_path), "all", "phone", "accuracy").spread is None


def test_the_best_is_the_highest_accuracy_and_the_lowest_error_rate(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("a"), fab.probed("phone", 40.0), fab.recognized(60.0))
    fab.write_folder(tmp_path, fab.upstream("b"), fab.probed("phone", 45.0), fab.recognized(70.0))
    table = table_of(tmp_path, baseline="a")
    assert cell_of(table, "b", "phone", "accuracy").best
    assert not cell_of(table, "a", "phone", "accuracy").best
    assert cell_of(table, "a", "asr", "cer").best
    assert cell_of(table, "b", "phone", "accuracy").difference == pytest.approx(5.0)
    assert cell_of(table, "b", "asr", "cer").difference == pytest.approx(10.0)
    assert cell_of(table, "a", "asr", "cer").difference is None


def test_baselines_stand_apart_and_the_better_kind_is_told(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("speaker", 80.0))
    fbank = fab.probed("speaker", 90.0, layers=["fbank"])
    fab.write_folder(tmp_path, fab.upstream("fbank", "fbank"), fbank)
    table = table_of(tmp_path)
    assert [(row.label, row.is_baseline) for row in table.rows] == [
        ("all", False),
        ("fbank", True),
    ]
    (told,) = findings(table)
    assert "fbank (a baseline) leads with 90.0 %, 10.0 points ahead of all" in told
    assert "The lead is not tested, because results of earlier versions hold no counts" in told
    assert any("no paired differences in speaker" in text for text in table.missing)


def test_what_is_missing_is_said(tmp_path):
    fab.write_folder(
        tmp_path, fab.upstream("all-s1", group="all"), fab.probed("phone", 40.0), fab.recognized(60)
    )
    second = fab.upstream("all-s2", group="all", seed=2)
    fab.write_folder(tmp_path, second, fab.probed("phone", 41.0))
    fab.write_folder(tmp_path, fab.upstream("none", num_updates=7))
    fab.write_folder(
        tmp_path, fab.upstream("mfcc", "mfcc"), fab.probed("phone", 39.0, layers=["mfcc"])
    )
    missing = table_of(tmp_path).missing
    assert "no phoneme classification for none" in missing
    assert "no results of speaker classification at all" in missing
    assert "no speech recognition for none, mfcc" in missing
    assert "speech recognition for all: only 1 of 2 pre-training seeds" in missing


def test_results_under_differing_protocols_are_not_put_into_one_column(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("a"), fab.probed("phone", 40.0))
    other = fab.probed("phone", 60.0, protocol={"optimizer": "Adam", "epochs": 200})
    fab.write_folder(tmp_path, fab.upstream("b"), other)
    table = table_of(tmp_path)
    assert cell_of(table, "a", "phone", "accuracy", "A").mean == pytest.approx(40.0)
    assert cell_of(table, "b", "phone", "accuracy", "B").mean == pytest.approx(60.0)
    assert not any(cell.best for cell in table.cells.values())  # each alone in its column
    assert len(table.cells) == 4  # each row in its own two columns alone
    (note,) = [note for note in table.notes if "cannot be compared" in note]
    assert "protocol.epochs: A 20, B 200" in note
    assert "no phoneme classification [B] for a" in table.missing


def test_tasks_whose_ways_differ_alike_share_one_note(tmp_path):
    for name, epochs in (("a", 20), ("b", 200)):
        same = {"protocol": {"optimizer": "Adam", "epochs": epochs}}
        tasks = (fab.probed(task, 40.0, **same) for task in ("phone", "speaker"))
        fab.write_folder(tmp_path, fab.upstream(name), *tasks)
    (note,) = [note for note in table_of(tmp_path).notes if "cannot be compared" in note]
    assert note.startswith("phoneme classification, speaker classification: measured in 2 ways")


def test_results_on_other_data_are_not_put_into_one_column(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("a"), fab.probed("speaker", 40.0))
    other = fab.probed("speaker", 60.0, classes=["one", "two"])
    fab.write_folder(tmp_path, fab.upstream("b"), other)
    assert "only b was measured: 60.0 %" in findings(table_of(tmp_path))[1]
    assert any("data.classes" in note for note in table_of(tmp_path).notes)


def test_what_a_row_is_fine_tuned_from_does_not_part_the_column(tmp_path):
    for name, kind, start in (("a", "mgf", "pre-trained weights"), ("b", "random", "random")):
        protocol = {"recipe": "ctc", "start": start, "transformer": {"layers": 2}}
        fab.write_folder(
            tmp_path, fab.upstream(name, kind), fab.recognized(60.0, protocol=protocol)
        )
    table = table_of(tmp_path)
    assert {column.variant for column in table.columns} == {""} and table.notes == ()


def test_a_group_whose_members_differ_in_more_than_the_seed_is_taken_apart(tmp_path):
    for name, updates in (("short", 100), ("long", 900)):
        about = fab.upstream(name, group="all", num_updates=updates)
        fab.write_folder(tmp_path, about, fab.probed("phone", 40.0))
    table = table_of(tmp_path)
    assert sorted(row.label for row in table.rows) == ["long", "short"]
    assert any("differ in num_updates" in note for note in table.notes)


def test_unequal_amounts_of_audio_are_said(tmp_path):
    for name, hours in (("much", 30.0), ("little", 10.0)):
        fab.write_folder(tmp_path, fab.upstream(name, audio_hours=hours))
    assert any("little 10.0 h, much 30.0 h" in note for note in collect([tmp_path]).notes)


def test_a_row_whose_members_heard_different_amounts_shows_the_range(tmp_path):
    for seed, hours in enumerate((8.0, 10.04, 10.0), start=1):
        about = fab.upstream(f"m{seed}", group="m", seed=seed, audio_hours=hours)
        fab.write_folder(tmp_path, about, fab.probed("phone", 40.0))
    fab.write_folder(tmp_path, fab.upstream("even", audio_hours=10.0), fab.probed("phone", 40.0))
    found = collect([tmp_path])
    assert any("even 10.0 h, m 8.0 to 10.0 h" in note for note in found.notes)
    effort = {row.label: training_effort(row) for row in found.rows}
    assert "<small>8.0 to 10.0 h of audio</small>" in effort["m"]
    assert "<small>10.0 h of audio</small>" in effort["even"]


def test_a_baseline_that_is_no_row_is_refused_with_the_rows(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("phone", 40.0))
    with pytest.raises(ResultError, match="--against mfcc: no such row; there are all"):
        table_of(tmp_path, baseline="mfcc")
