"""Numbers of a training log are read as they were written."""

from __future__ import annotations

from mgf_fairseq.monitoring.training_log import read_jsonl


def test_a_line_separator_within_a_name_does_not_end_an_entry(tmp_path):
    path = tmp_path / "training.jsonl"
    path.write_text('{"kind": "valid", "num_updates": 3, "of\u2028b": 2.0}\n', encoding="utf-8")
    assert read_jsonl(path, "valid") == [{"num_updates": 3.0, "of\u2028b": 2.0}]
