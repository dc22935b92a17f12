"""What cannot be exported is one line, and leaves everything as it was; the verb's words."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import exported
import pytest
from tiny_checkpoints import save, wav2vec2

from mgf_fairseq.cli import main
from mgf_fairseq.cli.export import FORMATS as CHOICES
from mgf_fairseq.export import FORMATS, export, parity
from mgf_fairseq.export import onnx as onnx_format


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a verb that fails."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    shown = capsys.readouterr().err
    lines = [line for line in shown.splitlines() if "error:" in line]
    assert len(lines) == 1 and "Traceback" not in shown
    return lines[0]


def test_the_verb_prints_the_differences_and_its_json_is_all_of_standard_output(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(encoder.parent), "--to", "torchscript", "--dest", str(tmp_path / "a")]
    assert tuple(FORMATS) == CHOICES
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "| layer 2 |" in shown.out and f"{tmp_path}/a: README.md" in shown.out
    assert "reading checkpoint_last.pt" in shown.err
    assert main([*words, "--json"]) == 0  # an export of ours is replaced
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "torchscript" and found["facts"]["num_updates"] == 40
    assert found["files"] == ["README.md", "mgf_export.json", "model.ts"]
    words = ["import", str(tmp_path / "a"), "--dest", str(tmp_path / "b"), "--json"]
    assert main(words) == 2
    assert "error" in json.loads(capsys.readouterr().out)


def test_a_folder_that_no_export_wrote_is_left_as_it_is(
    tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "thesis"
    dest.mkdir()
    (dest / "chapter.tex").write_text("words")
    line = refused(capsys, "export", encoder, "--to", "s3prl", "--dest", dest)
    assert "exists, and mgf export did not write it" in line
    line = refused(capsys, "import", encoder, "--dest", dest / "chapter.tex")
    assert [p.name for p in tmp_path.rglob("*")] == ["thesis", "chapter.tex"]
    assert (dest / "chapter.tex").read_text() == "words"


def test_an_export_that_differs_or_fails_leaves_the_earlier_one(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(encoder, "torchscript", tmp_path / "a")
    before = {p: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    honest = parity.Difference

    def off(*words: object) -> parity.Difference:
        return dataclasses.replace(honest(*words), largest=float("nan"))

    monkeypatch.setattr(parity, "Difference", off)
    with pytest.raises(ValueError, match="layer 0 of unpadded rows differs from the checkpoint"):
        export(encoder, "torchscript", tmp_path / "a")
    monkeypatch.setattr(parity, "Difference", lambda *words: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(encoder, "torchscript", tmp_path / "a")
    assert {p: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_model_that_a_format_cannot_hold_is_named_with_what_to_do(
    tmp_path: Path, ctc: Path, classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seq2seq = exported.seq2seq(tmp_path / "seq2seq.pt")
    gelu = exported.classifier(tmp_path / "gelu.pt", "gelu")
    theirs = save(tmp_path / "w2v.pt", *wav2vec2())
    (tmp_path / "half.pt").write_bytes(ctc.read_bytes()[:5000])
    (tmp_path / "dict.txt").write_text("A 1\nB 1\n")
    cases = [
        (seq2seq, "onnx", "a 'wav2vec_seq2seq' checkpoint, whose head this format cannot hold"),
        (classifier, "torchaudio", "a 'wav2vec_classification' checkpoint, whose head this"),
        (gelu, "huggingface", "fine-tune with model.activation_fn=linear"),
        (theirs, "fairseq", "its encoder is fairseq's own wav2vec2 already"),
        (tmp_path / "half.pt", "s3prl", "cut short or changed"),
        (tmp_path / "gone.pt", "s3prl", "no such checkpoint file"),
    ]
    for path, to, words in cases:
        line = refused(capsys, "export", path, "--to", to, "--dest", tmp_path / "out")
        assert words in line, line
    short = ("--dict", tmp_path / "dict.txt")
    line = refused(capsys, "export", ctc, "--to", "onnx", "--dest", tmp_path / "out", *short)
    assert "dict.txt 6 symbols (4 special ones included); name the dict.ltr.txt that" in line
    (tmp_path / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in "ABCDEFGHI"))
    line = refused(capsys, "export", ctc, "--to", "onnx", "--dest", tmp_path / "out", *short)
    assert "these are not the symbols that" in line and "drop --dict" in line
    assert not list(tmp_path.glob("*out*"))


def test_an_extra_that_is_missing_is_named_with_its_command(
    tmp_path: Path,
    encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in onnx_format.NEEDS else found(name, *rest),
    )
    line = refused(capsys, "export", encoder, "--to", "onnx", "--dest", tmp_path / "out")
    assert "onnx, onnxruntime, onnxscript not installed; pip install '.[export]'" in line
