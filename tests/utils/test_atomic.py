"""Files that appear only when complete, also when several write them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgf_fairseq.cli import main
from mgf_fairseq.utils.atomic import replace_file, replacing


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


def test_no_verb_writes_over_a_file_that_it_did_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.tsv").write_text("/\na.wav\t16000\n")
    (tmp_path / "index.html").write_text("<html>my page</html>\n")
    data = str(tmp_path)
    for arguments, kept in (
        (["score", "--checkpoint", "ck.pt", "--manifest", f"{data}/train.tsv"], "train.tsv"),
        (["check", data], "train.tsv"),
        (["report", data, "--dest", data], "index.html"),
    ):
        before = (tmp_path / kept).read_bytes()
        option = {"score": ["--output"], "check": ["--json"]}.get(arguments[0])
        assert main([*arguments, *([*option, f"{data}/{kept}"] if option else [])]) == 2
        assert "was not written by this command" in capsys.readouterr().err
        assert (tmp_path / kept).read_bytes() == before


def test_a_verb_makes_the_folder_of_its_file_and_writes_again_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("/\na.wav\t16000\n")
    arguments = ["check", str(tmp_path), "--json", str(tmp_path / "new" / "check.json")]
    assert [main(arguments), main(arguments)] == [1, 1]
