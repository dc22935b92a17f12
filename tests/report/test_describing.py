"""What the report says beside its numbers: titles, rows, caveats, layers, leads."""

from dataclasses import replace

import fabricated as fab

from mgf_fairseq.report.collect import collect
from mgf_fairseq.report.describing import caveats, usual_title, what_it_is, why_not_the_top
from mgf_fairseq.report.findings import findings
from mgf_fairseq.report.page.scores_table import scores_table
from mgf_fairseq.report.table import make_table


def test_the_title_counts_the_tasks_that_are_there(tmp_path):
    fab.write_folder(tmp_path / "one", fab.upstream("all"), fab.recognized(60.0))
    assert usual_title(make_table(collect([tmp_path / "one"]))) == (
        "Speech representations by speech recognition"
    )
    fab.write_whole(tmp_path / "four", fab.upstream("all"), (40.0, 80.0, 60.0, 50.0))
    assert usual_title(make_table(collect([tmp_path / "four"]))).endswith("four tasks")


def test_each_row_says_what_it_is(tmp_path):
    for seed in (1, 2):
        config = {"objectives": ["frame", "sample"]}
        about = fab.upstream(f"half-s{seed}", group="half", seed=seed, config=config)
        fab.write_folder(tmp_path, about, fab.probed("phone", 40.0))
    fab.write_folder(tmp_path, fab.upstream("random", "random"), fab.probed("phone", 30.0))
    half, random = (what_it_is(row) for row in collect([tmp_path]).rows)
    assert half == (
        "MGF with the scales frame and sample, pre-trained on 26.7 h of audio, the mean of 2 "
        "pre-trainings that differ by seed."
    )
    assert random.startswith("the same network with random weights")


def test_a_caveat_of_all_tasks_comes_once_and_one_of_some_names_them(tmp_path):
    both, some = "voices are synthetic", "labels are by machine"
    for name in ("a", "b"):
        phone, speaker = fab.probed("phone", 40.0), fab.probed("speaker", 80.0)
        phone = replace(phone, data=replace(phone.data, note=f"{both}; {some}"))
        speaker = replace(speaker, data=replace(speaker.data, note=both))
        fab.write_folder(tmp_path, fab.upstream(name), phone, speaker)
    assert caveats(make_table(collect([tmp_path]))) == [
        both,
        f"{some} (phoneme classification)",
    ]


def test_it_is_explained_where_the_highest_layer_is_not_best_and_only_there(tmp_path):
    phone = fab.probed("phone", 40.0)  # best on the last layer but one
    fab.write_folder(tmp_path / "low", fab.upstream("all"), phone)
    table = make_table(collect([tmp_path / "low"]))
    assert "highest by more than 1 point for all:" in why_not_the_top(table, table.columns[0])
    first, second, third, last = phone.representations
    top = replace(third, test=second.test)
    phone = replace(phone, representations=[first, replace(second, test=first.test), top, last])
    fab.write_folder(tmp_path / "top", fab.upstream("all"), phone)
    table = make_table(collect([tmp_path / "top"]))
    assert why_not_the_top(table, table.columns[0]) == ""
    near = {m: [score - 0.9 for score in scores] for m, scores in second.test.items()}
    ahead = [first, second, replace(third, test=near), last]  # by less than seeds differ
    fab.write_folder(tmp_path / "near", fab.upstream("all"), replace(phone, representations=ahead))
    table = make_table(collect([tmp_path / "near"]))
    assert why_not_the_top(table, table.columns[0]) == ""


def test_each_seed_is_in_its_cell_and_a_name_comes_once(tmp_path):
    fab.write_folder(tmp_path, fab.upstream("mgf"), fab.probed("phone", 40.0))
    page = scores_table(make_table(collect([tmp_path])))
    assert "39.5 40.0 40.5" in page and "title=" not in page
    assert page.count("mgf") == 1


def test_two_rows_of_one_kind_are_compared_too(tmp_path):
    for name, score in (("a", 40.0), ("b", 45.0)):
        phone = replace(fab.probed("phone", score), utterances=fab.counted(score, score + 1))
        fab.write_folder(tmp_path, fab.upstream(name), phone)
    (told,) = findings(make_table(collect([tmp_path])))
    assert "b leads with 45.0 %, 5.0 points ahead of a, the next row" in told
    assert "the lead is 1.7 to 1.7 points (95 %)." in told
