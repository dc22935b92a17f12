"""Defects of labels and dictionaries."""

from __future__ import annotations

from pathlib import Path

import pytest
from defects import _noise, _rules, _single, _write

from mgf_fairseq.check.labels import ctc_frames_needed

LABELS = {
    "label count (train.ltr)": "A |\nB |\n",
    "label empty (train.ltr)": "\n",
    "UNK only (train.ltr)": "x y z\n",
    "unknown symbols (train.ltr)": "A x |\n",
    "CTC infeasible (train.ltr)": "A A " * 20 + "\n",
}


@pytest.mark.parametrize("rule", LABELS)
def test_a_planted_label_defect_is_an_error(tmp_path: Path, rule: str) -> None:
    path = _single(tmp_path, _noise(0))
    (tmp_path / "train.ltr").write_text(LABELS[rule])
    assert _rules(path).get(rule) == "error"


def test_words_that_only_a_held_out_split_has_are_a_note(tmp_path: Path) -> None:
    _single(tmp_path, _noise(0))
    (tmp_path / "dict.wrd.txt").write_text("ONE 1\n")
    held_out = _write(tmp_path, "test", [("a.wav", 16000)], ["A B |"])
    (tmp_path / "test.wrd").write_text("ONE NEW\n")
    assert _rules(held_out)["unknown symbols (test.wrd)"] == "note"


def test_an_empty_dictionary_is_an_error(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    (tmp_path / "dict.ltr.txt").write_text("")
    assert _rules(path)["dictionary empty (dict.ltr.txt)"] == "error"


def test_repeats_need_a_blank_between_them() -> None:
    assert ctc_frames_needed(list("AABBB")) == 8
