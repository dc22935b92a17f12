"""`mgf lm`, and words, language models and beams in `mgf score` and `mgf transcribe`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import finetuned

from mgf_fairseq.cli import main
from mgf_fairseq.inference.recognizer import Recognizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and the manifests and letters of four recordings of noise."""
    folder = tmp_path_factory.mktemp("data")
    finetuned(folder / "ck.pt")
    rng = np.random.default_rng(0)
    for split, names in (("valid", "ab"), ("test", "cd")):
        for name in names:
            soundfile.write(folder / f"{name}.wav", 0.1 * rng.normal(size=16000), 16000)
        rows = "".join(f"{name}.wav\t16000\n" for name in names)
        (folder / f"{split}.tsv").write_text(f"{folder}\n{rows}")
        (folder / f"{split}.ltr").write_text("A B | B |\nB A A |\n")
    (folder / "words.txt").write_text("AB\nB\nBAA\nABBA\n")
    return folder


@pytest.fixture(scope="module")
def lm(data: Path) -> Path:
    assert main(["lm", f"{data}/valid.ltr", f"{data}/words.txt", "--dest", f"{data}/lm.arpa"]) == 0
    return data / "lm.arpa"


def _score(data: Path, *options: str) -> list[str]:
    common = ["--checkpoint", f"{data}/ck.pt", "--manifest", f"{data}/test.tsv", "--device", "cpu"]
    return ["score", *common, *options]


def test_words_restrict_what_is_recognized_in_all_three_ways(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"AB", "B", "BAA", "ABBA"}
    dest = data / "new" / "scored.json"
    assert main(_score(data, "--words", f"{data}/words.txt", "--dest", str(dest))) == 0
    assert "decoding     beam 50, words of words.txt, word score 0" in capsys.readouterr().out
    scored = [one["hypothesis"] for one in json.loads(dest.read_text())["utterances"]]
    assert set(" ".join(scored).split()) <= words
    given = [f"{data}/ck.pt", f"{data}/test.tsv", "--txt", "--device", "cpu"]
    assert main(["transcribe", *given, "--word-list", f"{data}/words.txt"]) == 0
    assert capsys.readouterr().out.splitlines() == scored
    recognizer = Recognizer.load(data / "ck.pt", words=sorted(words))
    found = recognizer.transcribe([f"{data}/c.wav", f"{data}/d.wav"])
    assert [one.text for one in found] == scored
    plain = Recognizer.load(data / "ck.pt").transcribe(f"{data}/c.wav")[0]
    one = Recognizer.load(data / "ck.pt", beam=1).transcribe(f"{data}/c.wav")[0]
    assert one.text == plain.text and one.confidence == pytest.approx(plain.confidence)
    assert [(w.start, w.end) for w in one.words] == [(w.start, w.end) for w in plain.words]
    assert not set(plain.text.split()) <= words


def test_weights_are_tuned_on_another_manifest_and_the_best_is_used(
    data: Path, lm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--lm", str(lm), "--words", f"{data}/words.txt", "--beam", "5"]
    assert main([*_score(data, *options, "--tune", f"{data}/valid.tsv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    points = found["tuned"]["points"]
    best = min(points, key=lambda point: (point["wer"], point["cer"]))
    assert len(points) == 20
    weights = ["--lm-weight", str(best["lm_weight"]), "--word-score", str(best["word_score"])]
    assert main([*_score(data, *options, *weights), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert (alone["corpus"], alone["decoding"]) == (found["corpus"], found["decoding"])
    # What is said of the tuned point is what scoring its manifest with these weights gives.
    given = ["--checkpoint", f"{data}/ck.pt", "--manifest", f"{data}/valid.tsv", "--json"]
    assert main(["score", *given, *options, *weights]) == 0
    valid = json.loads(capsys.readouterr().out)["corpus"]
    assert (valid["wer"], valid["cer"]) == pytest.approx((best["wer"], best["cer"]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--words", "{tmp}/lower.txt"], r"lower.txt: 2 of 3 words .* ab, é \(it has no a b é\)"),
        (["--words", "{tmp}/empty.txt"], "empty.txt: holds no word"),
        (["--words", "{tmp}/none.txt"], "none.txt: no such file of words"),
        (["--lm", "{tmp}/lower.arpa"], "lower.arpa: 2 of its 3 words cannot be spelled"),
        (["--lm", "{tmp}/lower.txt"], "lower.txt, line 4: no whole ARPA file"),
        (["--lm-weight", "1"], "no language model: give --lm"),
        (["--beam", "0"], "beam 0 must be at least 1"),
        (["--beam", "9", "--tune", "{data}/valid.tsv"], "nothing to tune"),
        (["--words", "{data}/words.txt", "--tune", "{data}/test.tsv"], "this is the manifest to"),
        (
            ["--words", "{data}/words.txt", "--tune", "{data}/valid.tsv", "--word-score", "1"],
            "--tune chooses",
        ),
    ],
)
def test_files_and_options_that_do_not_fit_are_named(
    data: Path,
    lm: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    named: str,
) -> None:
    (tmp_path / "lower.txt").write_text("ab\né\nAB\n")
    (tmp_path / "empty.txt").write_text("\n")
    assert main(["lm", f"{tmp_path}/lower.txt", "--dest", f"{tmp_path}/lower.arpa"]) == 0
    dest = tmp_path / "scored.tsv"
    given = [text.format(tmp=tmp_path, data=data) for text in options]
    capsys.readouterr()
    assert main([*_score(data, *given), "--dest", str(dest)]) == 2
    assert re.search(named, capsys.readouterr().err)
    assert not dest.exists()


def test_a_language_model_replaces_no_foreign_file_and_a_classifier_takes_none(
    data: Path, lm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lm.read_text().startswith("\\data\\\nngram 1=")
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    assert main(["lm", f"{data}/words.txt", "--dest", str(foreign)]) == 2
    assert foreign.read_text() == "mine"
    classifier = finetuned(tmp_path / "cls.pt", "classification", "xyz")
    given = ["--checkpoint", str(classifier), "--manifest", f"{data}/test.tsv", "--lm", str(lm)]
    assert main(["score", *given]) == 2
    assert "a classifier: words" in capsys.readouterr().err
