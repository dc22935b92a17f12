"""One scheme of names over all verbs: old and misspelled names, help, devices, JSON, runs."""

import argparse
import importlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.cli import VERBS, _verb_parser, main
from mgf_fairseq.cli.options import RENAMED, Renamed, device_of, names, numbers, one_of, renamed
from mgf_fairseq.cli.plain import plain

UNITS = (
    *(
        "in seconds",
        "in hours",
        "in Hz",
        "in bytes",
        "in samples",
        "share",
        "number of",
        "width of",
        "seed",
    ),
    *("threads", "units", "part of the path", "updates", "log-probabilities"),
)


def parser_of(verb: str) -> argparse.ArgumentParser:
    return _verb_parser(verb, importlib.import_module(f"mgf_fairseq.cli.{VERBS[verb][0]}"))


def options_of(verb: str) -> dict[str, argparse.Action]:
    return parser_of(verb)._option_string_actions


@pytest.mark.parametrize("change", RENAMED, ids=lambda change: f"{change.verb} {change.old}")
def test_an_old_name_is_the_new_one_with_a_note(
    change: Renamed, capsys: pytest.CaptureFixture[str]
) -> None:
    value = "x"
    words = ["--keep", change.old, value, f"{change.old}={value}"]
    assert renamed(change.verb, words, spare=change.flag) == [
        "--keep",
        change.new,
        value,
        f"{change.new}={value}",
    ]
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count(f"{change.old} is called {change.new} now") == 2
    options = options_of(change.verb)
    assert change.new in options and (change.flag or change.old not in options)


@pytest.mark.parametrize(
    ("words", "dest"),
    [
        ("data --json", None),
        ("--json data", None),
        ("--fast --json data", None),
        ("data --json --fast", None),
        ("data --json findings", "findings"),
        ("--json findings data", "findings"),
        ("--json findings.json --fast data", "findings.json"),
        ("--json=findings data", "findings"),
    ],
)
def test_json_takes_a_file_where_there_is_a_word_too_many(
    words: str, dest: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parser_of("check").parse_args(words.split())
    assert args.data == Path("data") and args.fast == ("--fast" in words)
    assert (args.json, args.dest) == ((False, Path(dest)) if dest else (True, None))
    assert ("--json is called --dest now" in capsys.readouterr().err) == bool(dest)


@pytest.mark.parametrize("words", ["data more --json", "data --json findings more"])
def test_a_word_that_is_no_value_of_json_is_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser_of("check").parse_args(words.split())
    assert "unrecognized arguments: more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exract"], "no verb 'exract' (did you mean 'extract'?)"),
        (["extract", "--checkpiont", "a"], "no option --checkpiont (did you mean '--checkpoint'?)"),
        (["score", "--manifets=a"], "no option --manifets (did you mean '--manifest'?)"),
        (["extract", "--dtype", "float61"], "no 'float61' (did you mean 'float16'?)"),
        (["score", "--zzz"], "no option --zzz; mgf score --help lists all"),
    ],
)
def test_a_misspelled_word_gets_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_each_help_line_says_default_and_unit(verb: str) -> None:
    parser = parser_of(verb)
    formatter = parser._get_formatter()
    for option in parser._actions:
        text = formatter._get_help_string(option) or ""
        assert text, option.option_strings
        if option.default not in (None, False, argparse.SUPPRESS, []):
            assert "default" in text or str(option.default) in text, (option.option_strings, text)
        elif option.option_strings and option.default is None and not option.required:
            assert "default" in text or "(" in text, (option.option_strings, text)
        if option.type in (int, float) and option.option_strings:
            assert any(unit in text for unit in UNITS), (option.option_strings, text)


def test_verbs_share_one_form_of_each_option() -> None:
    """An option of one name takes one form of value, whatever the verb."""
    forms: dict[str, set[tuple[Any, Any]]] = {}
    for verb in VERBS:
        for name, option in options_of(verb).items():
            if name in ("--layers", "--seeds", "--tasks", "--device", "--user-dir", "--json"):
                forms.setdefault(name, set()).add((option.nargs, option.metavar))
    assert {name: len(found) for name, found in forms.items()} == dict.fromkeys(forms, 1)


def test_every_verb_that_reads_checkpoints_takes_a_device_and_a_user_dir() -> None:
    for verb in VERBS:
        options = options_of(verb)
        if "--checkpoint" in options:
            assert {"--device", "--user-dir"} <= set(options), verb


def test_lists_are_given_with_commas_or_spaces() -> None:
    assert names("3, last") == names(["3", "last"]) == names(["3,last"]) == ["3", "last"]
    assert numbers("--seeds", "1,2") == numbers("--seeds", ["1", "2"]) == (1, 2)
    for wrong in ("", "1,1", "-1", "one", "1.5"):
        with pytest.raises(ValueError, match=r"--seeds .*expected different whole numbers"):
            numbers("--seeds", wrong)
    assert one_of("--tasks", ["b,a", "b"], ["a", "b"]) == ("b", "a")
    with pytest.raises(ValueError, match=r"--tasks phnoe: no such name \(did you mean 'phone'\?\)"):
        one_of("--tasks", "phnoe", ["phone", "speaker"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cuda", "--device cuda: no CUDA device is visible here; use --device cpu"),
        ("cuda:1", "--device cuda:1: no CUDA device is visible here"),
        ("gpu", "--device gpu: no such device; give cpu, cuda or cuda:N"),
        ("cuda:x", "--device cuda:x: no such device"),
    ],
)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if "--device" in options_of(verb)])
def test_a_device_that_is_not_there_is_one_line(
    verb: str,
    given: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    needed = {"--checkpoint": "ck.pt", "--manifest": "a.tsv", "--data": "d", "--tasks": "phone"}
    options = options_of(verb)
    line = [verb, "--device", given]
    for name, value in needed.items():
        line += [name, value] if name in options and options[name].default is None else []
    dest = options.get("--dest")
    line += ["--dest", str(tmp_path / "out")] if dest and dest.required else []
    line += ["ck.pt", "a.wav"] if verb in ("transcribe", "classify") else []
    assert main(line) == 2
    lines = capsys.readouterr().err.splitlines(keepends=True)
    shown = "".join(line for line in lines if ": note: " not in line)
    assert words in shown and shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_cuda_device_beyond_the_last_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert (device_of(None), device_of("cuda:1"), device_of("cpu")) == ("cuda", "cuda:1", "cpu")
    with pytest.raises(ValueError, match=r"--device cuda:2: there are 2 here"):
        device_of("cuda:2")


def test_a_run_is_taken_for_its_checkpoint_and_json_is_all_of_standard_output(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    mgf_checkpoint(tmp_path / "run" / "checkpoint_last.pt")
    for spec in (f"{tmp_path}/run", f"random:{tmp_path}/run@3"):
        words = ["extract", "--checkpoint", spec, "--manifest", str(corpus / "valid.tsv")]
        words += ["--layers", "1", "last", "--json", "--device", "cpu"]
        assert main([*words, "--dest", str(tmp_path / spec[:6])]) == 0
        shown = capsys.readouterr()
        assert f"{tmp_path}/run: reading checkpoint_last.pt\n" in shown.err
        (found,) = json.loads(shown.out)
        assert found["layers"] == ["layer 1", "layer 2"] and found["utterances"] == 4
        assert "4 utterances" in shown.err
    assert main([*words[:-3], "--json", "--dest", "x", "--batch-seconds", "0"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"] == "--batch-seconds 0 must be above 0"
    assert main(["user-dir", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["user_dir"], "plugin.py").is_file()


def test_the_verbs_of_data_give_json_too(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> Any:
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    prepared = said("prepare", corpus / "audio", "--dest", tmp_path / "d", "--valid-percent", 0.3)
    assert {split["split"] for split in prepared["splits"]} == {"train", "valid"}
    checked = said("check", tmp_path / "d", "--fast")
    assert sum(report["lines"] for report in checked) == 16
    assert said("shard", tmp_path / "d", "--dest", tmp_path / "s")["files"] == 16


def test_what_json_cannot_write_is_put_so_that_it_can() -> None:
    held = {"path": Path("a"), 2: (np.float32(0.5), np.int64(3)), "nan": float("nan")}
    held |= {"array": np.arange(2), "tensor": torch.ones(1), "inf": [np.float64("inf")]}
    expected = {"path": "a", "2": [0.5, 3], "nan": None, "array": [0, 1], "tensor": [1.0]}
    assert json.loads(json.dumps(plain(held))) == {**expected, "inf": [None]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"no package \(no __init__\.py there\)"),
        ("import mgf_fairseq.objectivs\n", "importing it failed .*ModuleNotFoundError.*objectivs"),
        ("x = (\n", "importing it failed .*SyntaxError"),
    ],
)
def test_a_user_dir_that_is_none_is_one_line(
    content: str | None, words: str, tmp_path: Path, corpus: Path,
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    folder = tmp_path / f"package_{abs(hash(request.node.name))}"
    folder.mkdir()
    if content is not None:
        (folder / "__init__.py").write_text(content)
    words_given = ["extract", "--checkpoint", "fbank", "--manifest", str(corpus / "valid.tsv")]
    dest = str(tmp_path / "out")
    assert main([*words_given, "--dest", dest, "--user-dir", str(folder)]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert re.search(f"--user-dir {folder}: {words}", shown)
