"""The tables of the report equal what one computes by hand, and say what is missing or unequal."""

import json

import fabricated as fab
import pytest

from mgf_fairseq.evaluation.result_files import ResultError
from mgf_fairseq.report.collect import collect
from mgf_fairseq.report.findings import findings
from mgf_fairseq.report.markdown import machine_readable, markdown
from mgf_fairseq.report.page.scores_table import scores_table, training_effort
from mgf_fairseq.report.table import make_table


def table_of(*sources, baseline=None):
    return make_table(collect(sources), baseline)


def cell_of(table, label, task, metric, variant=""):
    column = next(
        c for c in table.columns if (c.task, c.metric, c.variant) == (task, metric, variant)
    )
    return table.cells[label, column]


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
    assert "not tested, since results of earlier versions hold no counts" in told
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


def test_results_on_other_data_are_not_put_into_one_column(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("a"), fab.probed("speaker", 40.0))
    other = fab.probed("speaker", 60.0, classes=["one", "two"])
    fab.write_folder(tmp_path, fab.upstream("b"), other)
    assert "b alone was measured: 60.0 %" in findings(table_of(tmp_path))[1]
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


def test_a_baseline_that_is_no_row_is_refused_with_the_rows(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("all"), fab.probed("phone", 40.0))
    with pytest.raises(ResultError, match="--against mfcc: no such row; there are all"):
        table_of(tmp_path, baseline="mfcc")


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


def rows_of(tmp_path, ours, theirs, **changes):
    """An MGF row and log-mel whose speakers have these accuracies, and their table."""
    for name, kind, shares in (("all", "mgf", ours), ("fbank", "fbank", theirs)):
        layers = [kind] if kind == "fbank" else fab.LAYERS
        mean = sum(shares) / len(shares)
        result = fab.probed(
            "phone",
            mean,
            layers=layers,
            seeds=(0.0,),
            utterances=fab.counted(*shares, **changes),
            interval_over=f"{len(shares)} speakers",
        )
        fab.write_folder(tmp_path, fab.upstream(name, kind), result)
    return table_of(tmp_path)


def test_a_difference_is_drawn_by_speaker_and_what_both_rows_share_drops_out(tmp_path):
    theirs = [20.0, 40.0, 60.0, 80.0]
    table = rows_of(tmp_path, [share + 6 for share in theirs], theirs)
    assert table.baseline == "fbank"  # unless another row is named
    cell = cell_of(table, "all", "phone", "accuracy")
    assert cell.difference == pytest.approx(6.0)
    # Each speaker differs by 6 points, so every draw of speakers does.
    assert (cell.difference_low, cell.difference_high) == pytest.approx((6.0, 6.0))
    assert cell.difference_over == "4 speakers"
    assert "paired over 4 speakers" in findings(table)[0]
    assert findings(table)[0].endswith("between 6.0 and 6.0 points: this lead holds")
    column = next(c for c in table.columns if c.leading)
    assert table.drawn_over(column) == "4 speakers"
    assert "+6.0 (+6.0 to +6.0) better" in scores_table(table)
    assert "+6.0 vs fbank (+6.0 to +6.0)<br>" in markdown(table, "x")
    assert "| *intervals drawn over* | 4 speakers |" in markdown(table, "x")
    shown = json.loads(machine_readable(table, "x"))
    assert shown["columns"][0]["intervals_over"] == "4 speakers"
    assert shown["rows"][0]["cells"][0]["difference_low"] == pytest.approx(6.0)


def test_a_lead_that_one_speaker_makes_is_not_shown_though_it_has_many_utterances(tmp_path):
    # Over utterances (50 of each speaker) the interval would lie above 0.
    table = rows_of(tmp_path, [30.0, 40.0, 50.0, 80.0], [32.0, 42.0, 52.0, 60.0], each=50)
    cell = cell_of(table, "all", "phone", "accuracy")
    assert cell.difference == pytest.approx(3.5)
    # Four draws of four speakers: all of the three weak ones in 0.75^4 = 32 %, so below 2.5 % too.
    assert cell.difference_low == pytest.approx(-2.0)
    assert "no lead is shown, 0 lies inside" in findings(table)[0]
    assert "may be chance" not in findings(table)[0]


def test_without_speakers_utterances_are_drawn_and_said_so(tmp_path):
    table = rows_of(tmp_path, [30.0, 40.0], [20.0, 30.0], speakers=False)
    cell = cell_of(table, "all", "phone", "accuracy")
    assert cell.difference_over == "6 utterances (speakers unknown)"


def test_error_rates_are_compared_per_utterance_too_and_lower_is_ahead(tmp_path):
    for name, kind, shares in (("all", "mgf", (30, 50)), ("fbank", "fbank", (40, 60))):
        counts = fab.counted(*shares)
        result = fab.recognized(sum(shares) / 2, seeds=[1], utterances=counts)
        fab.write_folder(tmp_path, fab.upstream(name, kind), result)
    table = table_of(tmp_path)
    cell = cell_of(table, "all", "asr", "cer")
    assert (cell.difference_low, cell.difference_high) == pytest.approx((-10.0, -10.0))
    assert "between 10.0 and 10.0 points: this lead holds" in findings(table)[0]


def test_utterances_that_one_row_could_not_read_are_left_out_of_the_pairs_and_said_so(tmp_path):
    rows_of(tmp_path, [30.0, 40.0], [20.0, 30.0])
    path = tmp_path / "fbank" / "phone.json"
    content = json.loads(path.read_text())
    del content["utterances"][0]
    path.write_text(json.dumps(content))
    cell = cell_of(table_of(tmp_path), "all", "phone", "accuracy")
    assert cell.difference_over == "2 speakers, of 5 utterances that all have"


def test_pre_training_seeds_of_a_row_are_averaged_and_how_far_they_are_apart_is_said(tmp_path):
    rows_of(tmp_path, [30.0, 40.0], [20.0, 30.0])
    for seed, shares in ((1, (31, 41)), (2, (35, 45))):
        about = fab.upstream(f"s{seed}", group="seeds", seed=seed)
        counts = fab.counted(*shares)
        score = sum(shares) / 2
        result = fab.probed("phone", score, seeds=(0.0,), utterances=counts)
        fab.write_folder(tmp_path, about, result)
    table = table_of(tmp_path)
    cell = cell_of(table, "seeds", "phone", "accuracy")
    assert (cell.difference_low, cell.difference_high) == pytest.approx((13.0, 13.0))
    assert "the 2 pre-training seeds of seeds are 4.0 points apart" in findings(table)[0]


def test_files_of_earlier_versions_are_read_and_shown_without_paired_differences(tmp_path):
    rows_of(tmp_path, [30.0, 40.0], [20.0, 30.0])
    for path in tmp_path.glob("*/phone.json"):
        content = json.loads(path.read_text())
        del content["utterances"], content["interval_over"]
        path.write_text(json.dumps(content))
    table = table_of(tmp_path)
    cell = cell_of(table, "all", "phone", "accuracy")
    assert cell.difference == pytest.approx(10.0) and cell.difference_low is None
    assert cell.interval_over == "utterances"
    assert any("for all: results of earlier versions" in text for text in table.missing)
