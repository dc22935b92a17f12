"""The numbers of a training log survive the way into a result folder."""

import pytest

from mgf_fairseq.monitoring.training_log import read_jsonl, write_jsonl

LOG = """\
[2026-11-25 10:00:00,000][train_inner][INFO] - {"epoch": 1, "loss": "3.5", "num_updates": "50"}
[2026-11-25 10:00:01,000][train_inner][INFO] - {"epoch": 1, "loss": "3.0", "num_updates": "25"}
[2026-11-25 10:00:02,000][valid][INFO] - {"valid_loss": "2.5", "valid_num_updates": "50"}
[2026-11-25 10:00:03,000][train][INFO] - {"train_loss": "3.1", "train_num_updates": "50"}
a line of another kind
"""


def test_the_entries_of_a_log_come_back_by_kind_in_order_of_updates(tmp_path):
    (tmp_path / "hydra_train.log").write_text(LOG)
    write_jsonl(tmp_path / "training.jsonl", tmp_path / "hydra_train.log")
    train = read_jsonl(tmp_path / "training.jsonl", "train_inner")
    assert [(entry["num_updates"], entry["loss"]) for entry in train] == [(25, 3.0), (50, 3.5)]
    valid = read_jsonl(tmp_path / "training.jsonl", "valid")
    assert valid == [{"loss": 2.5, "num_updates": 50.0}]


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"kind": "valid", "loss": "x"}'])
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    path = tmp_path / "training.jsonl"
    path.write_text('{"kind": "valid", "num_updates": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"training\.jsonl, line 2 is no entry"):
        read_jsonl(path, "valid")
