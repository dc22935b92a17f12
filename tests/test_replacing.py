"""Files that appear only when complete, also when several write them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgf_fairseq.data.replacing import replace_file, replacing


def test_two_writers_at_once_do_not_meet_and_the_last_to_end_stays(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.tsv"
    with replace_file(target) as first:
        first.write("first")
        with replace_file(target) as second:
            second.write("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
