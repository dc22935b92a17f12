"""`mgf score` of a classifier: its counts are those of the labels that `mgf classify` gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import finetuned

from mgf_fairseq.cli import main
from mgf_fairseq.evaluation.finetuning.score_classes import score_classes
from mgf_fairseq.inference.classifier import Classifier


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Recordings that are noise of many colors, one of them silent and one missing."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        noise = rng.normal(size=8000) if number != 4 else np.zeros(8000)
        color = np.convolve(noise, np.ones(1 + 4 * number) / (1 + number), mode="same")
        if number != 7:
            soundfile.write(tmp_path / f"{number}.wav", 0.1 * color, 16000)
        rows.append(f"{number}.wav\t8000\n")
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\n{''.join(rows)}")
    (tmp_path / "test.emo").write_text("x\ny\nz\n" * 4)
    return tmp_path / "test.tsv"


def test_accuracy_recall_and_confusions_are_counted_by_hand(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = finetuned(manifest.parent / "ck.pt", "classification", "xyz")
    command = ["score", "--checkpoint", str(checkpoint), "--manifest", str(manifest)]
    dest = manifest.parent / "scores.tsv"
    assert main([*command, "--labels", "emo", "--dest", str(dest), "--json"]) == 0
    out, shown = capsys.readouterr()
    corpus = json.loads(out)["corpus"]
    read = [number for number in range(12) if number not in (4, 7)]
    files = [manifest.parent / f"{number}.wav" for number in read]
    predicted = [one.label for one in Classifier.load(checkpoint)(files)]
    truth = ["xyz"[number % 3] for number in read]
    pairs = list(zip(truth, predicted, strict=True))
    recalls = [
        sum(pair == (label, label) for pair in pairs) / truth.count(label) for label in "xyz"
    ]
    right = sum(one == other for one, other in pairs)
    assert corpus["accuracy"]["value"] == pytest.approx(100 * right / len(read))
    assert corpus["uar"]["value"] == pytest.approx(100 * np.mean(recalls))
    assert corpus["confusion"] == [[pairs.count((a, b)) for b in "xyz"] for a in "xyz"]
    assert corpus["accuracy"]["low"] <= corpus["accuracy"]["value"] <= corpus["accuracy"]["high"]
    assert set(corpus["failed"]) == {"4", "7"} and "silent" in corpus["failed"]["4"]
    assert f"recordings   {len(read)}, 2 skipped, 3 labels" in shown
    rows = [line.split("\t")[:3] for line in dest.read_text().splitlines()[1:]]
    assert rows == [[f"{n}.wav", *pair] for n, pair in zip(read, pairs, strict=True)]


def test_a_label_that_the_model_does_not_know_is_named(manifest: Path) -> None:
    checkpoint = finetuned(manifest.parent / "ck.pt", "classification", "xyz")
    classifier = Classifier.load(checkpoint)
    manifest.with_suffix(".emo").write_text("x\nw\n" * 6)
    with pytest.raises(ValueError, match=r"test.emo, line 2: .* label 'w'; it knows x, y, z"):
        score_classes(classifier, manifest, "emo")
    with pytest.raises(ValueError, match="no such label file"):
        score_classes(classifier, manifest)
