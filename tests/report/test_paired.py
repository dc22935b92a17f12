"""Differences of two rows, drawn by speaker or utterance."""

import json

import fabricated as fab
import pytest
from tables import cell_of, table_of

from mgf_fairseq.report.findings import findings
from mgf_fairseq.report.markdown import machine_readable, markdown
from mgf_fairseq.report.page.scores_table import scores_table


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
    told = "Paired over 4 speakers, the lead is 6.0 to 6.0 points (95 %)."
    assert findings(table)[0].endswith(told)
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
    assert "includes 0, so it may be no lead" in findings(table)[0]
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
    assert findings(table)[0].endswith("the lead is 10.0 to 10.0 points (95 %).")


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
    assert "The 2 pre-training seeds of seeds are 4.0 points apart" in findings(table)[0]


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
