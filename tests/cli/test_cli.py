"""The command mgf: help, exit codes, and errors of one line."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import mgf_fairseq
from mgf_fairseq.cli import VERBS, main


def test_help_names_every_verb_and_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for verb, (_, line) in VERBS.items():
        assert verb in printed and line in printed
    assert "mgf prepare" in printed


@pytest.mark.parametrize("verb", list(VERBS))
def test_each_verb_explains_itself_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "example" in printed and f"mgf {verb}" in printed


def test_no_verb_prints_the_help_and_fails(capsys):
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


def test_an_unknown_verb_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["prepair"])
    assert caught.value.code == 2
    assert "choose from prepare" in capsys.readouterr().err


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("mgf_fairseq ")


def test_user_dir_prints_the_folder_of_the_package_alone(capsys):
    assert main(["user-dir"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{Path(next(iter(mgf_fairseq.__path__))).resolve()}\n"


def test_an_error_is_one_line_and_its_traceback_is_shown_on_demand(tmp_path, capsys):
    arguments = ["prepare", str(tmp_path / "gone"), "--dest", str(tmp_path / "o")]
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("mgf prepare: error: ") and shown.count("\n") == 1
    assert "does not exist" in shown
    assert main([*arguments, "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_prepare_says_what_it_found_and_what_to_type_next(tmp_path, capsys):
    for number in range(3):
        name = tmp_path / "in" / "s" / f"{number}.wav"
        name.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, np.full(8000, 0.1), 8000)
    (tmp_path / "in" / "bad.wav").write_bytes(b"x")
    dest = tmp_path / "out"
    arguments = [str(tmp_path / "in"), "--dest", str(dest), "--ext", ".WAV,flac"]
    assert main(["prepare", *arguments, "--valid-percent", "0.4", "--speaker-level", "1"]) == 0
    printed = capsys.readouterr().out
    assert "looks like: folder" in printed
    assert "train.tsv           2" in printed and "valid.tsv           1" in printed
    assert "3 file(s) are not at 16000 Hz" in printed
    assert "skipped: 1 item(s)" in printed
    assert printed.splitlines()[-1] == f"next: mgf check {dest}"
