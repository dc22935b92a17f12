"""`mgf transcribe` and `mgf classify`: what is given, what is written where, and bad input."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import finetuned, mgf_checkpoint

from mgf_fairseq.cli import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(finetuned(tmp_path_factory.mktemp("ctc") / "ck.pt"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(finetuned(tmp_path_factory.mktemp("cls") / "ck.pt", "classification", "xyz"))


@pytest.fixture
def audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings of three rates, one of them in two channels, and the working one."""
    folder = tmp_path / "audio"
    (folder / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    soundfile.write(folder / "a.wav", 0.1 * rng.normal(size=(44100, 2)), 44100)
    soundfile.write(folder / "b" / "c.flac", 0.1 * rng.normal(size=9000), 8000)
    soundfile.write(folder / "d.ogg", 0.1 * rng.normal(size=16000), 16000)
    (folder / "notes.txt").write_text("no audio")
    monkeypatch.chdir(tmp_path)
    return folder


def _stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_files_folders_manifests_and_stdin_are_read_in_the_order_given(
    checkpoint: str,
    audio: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("m.tsv").write_text(f"{audio}\nd.ogg\t16000\na.wav:100:30000\t30000\n")
    _stdin(monkeypatch, b"audio/d.ogg\n\naudio/a.wav\n")
    assert main(["transcribe", checkpoint, "audio/d.ogg", "audio", "m.tsv", "-"]) == 0
    found = _lines(capsys)
    assert [name for name, _ in found] == [
        *("audio/d.ogg", "audio/a.wav", "audio/b/c.flac", "audio/d.ogg"),
        *(f"{audio}/d.ogg", f"{audio}/a.wav:100:30000", "audio/d.ogg", "audio/a.wav"),
    ]
    texts = dict(map(tuple, found))
    assert texts["audio/d.ogg"] == texts[f"{audio}/d.ogg"] and all(texts.values())


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "aiff"])
def test_stdin_may_be_the_audio_itself(
    checkpoint: str,
    audio: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    samples, rate = soundfile.read(audio / "a.wav")
    soundfile.write(f"x.{ending}", samples, rate)
    _stdin(monkeypatch, Path(f"x.{ending}").read_bytes())
    assert main(["transcribe", checkpoint, "-", f"x.{ending}", "--json"]) == 0
    piped, file = json.loads(capsys.readouterr().out)["transcripts"]
    assert piped.pop("name") == "-" and file.pop("name") == f"x.{ending}"
    assert piped == file and "words" not in file and file["flags"] == []


def test_bad_recordings_are_named_keep_their_place_and_show_in_the_exit_code(
    checkpoint: str, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    Path("bad.wav").write_bytes(b"RIFF????WAVE")
    soundfile.write("silent.wav", np.full(16000, 0.25), 16000)
    soundfile.write("short.wav", rng.normal(size=300), 16000)
    given = ["audio/a.wav", "bad.wav", "silent.wav", "none.wav", "short.wav", "audio/d.ogg"]
    assert main(["transcribe", checkpoint, *given, "--txt"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [bool(line) for line in lines] == [True, False, False, False, False, True]
    assert "skipped: bad.wav: not an audio file" in err
    assert "skipped: none.wav: no such file" in err
    assert "silent.wav: silent" in err and "short.wav: too short" in err
    assert main(["transcribe", checkpoint, "bad.wav", "none.wav"]) == 2
    assert "nothing could be transcribed (bad.wav" in capsys.readouterr().err


def test_dest_gets_a_file_for_each_and_never_replaces_one_unasked(
    checkpoint: str, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transcribe", checkpoint, "audio", "--dest", "out"]
    assert main(command) == main([*command, "--srt", "--words"]) == main([*command, "--json"]) == 0
    names = {str(path.relative_to("out")) for path in Path("out").rglob("*.*")}
    stems = ("a", "b/c", "d")
    assert names == {f"{stem}.{form}" for stem in stems for form in ("txt", "srt", "json")}
    content = json.loads(Path("out/a.json").read_text())
    assert Path("out/a.txt").read_text() == content["text"] + "\n"
    blocks = Path("out/a.srt").read_text().split("\n\n")
    assert len(blocks) == len(content["text"].split()) and " --> " in blocks[0]
    capsys.readouterr()
    assert main(command) == 2
    assert "out/a.txt exists" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert main(["transcribe", checkpoint, "audio/a.wav", "audio", "--dest", "two"]) == 2
    assert "would both be written to two/a.txt" in capsys.readouterr().err
    assert not Path("two").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audio", "--srt"], "--srt of 3 recordings: name a folder with --dest"),
        (["audio", "--srt", "--json"], "leave out --srt and --txt"),
        (["-", "-"], "given twice"),
        (["empty"], "no audio file in this folder"),
        (["-"], "standard input is empty"),
        (["audio", "--batch-seconds", "0"], "--batch-seconds 0 must be above 0"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_nothing_is_written(
    checkpoint: str,
    audio: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    Path("empty").mkdir()
    _stdin(monkeypatch, b"")
    assert main(["transcribe", checkpoint, *words]) == 2
    out, err = capsys.readouterr()
    assert message in err and (not out or json.loads(out)["error"])


def test_checkpoints_of_other_kinds_name_the_verb_that_fits(
    checkpoint: str, classifier: str, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained = str(mgf_checkpoint(Path("pretrained.pt")))
    Path("half").mkdir()
    Path("half/checkpoint_best.pt.part").write_bytes(b"PK")
    for verb, given, message in (
        ("transcribe", classifier, "mgf classify"),
        ("transcribe", pretrained, "fine-tune it first"),
        ("transcribe", "half", "a folder without checkpoint_last.pt"),
        ("classify", checkpoint, "mgf transcribe"),
        ("classify", pretrained, "fine-tune it first"),
    ):
        assert main([verb, given, "audio"]) == 2
        assert message in capsys.readouterr().err


def test_classify_prints_the_likeliest_labels(
    classifier: str, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", classifier, "audio", "--top", "2"]) == 0
    rows = _lines(capsys)
    assert [row[0] for row in rows] == ["audio/a.wav", "audio/b/c.flac", "audio/d.ogg"]
    assert all(len(row) == 5 and float(row[2]) >= float(row[4]) for row in rows)
    assert main(["classify", classifier, "audio/a.wav", "none.wav", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    (found,) = result["recordings"]
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert found["label"] == rows[0][1]
    assert result["skipped"] == [{"name": "none.wav", "reason": "no such file"}]
