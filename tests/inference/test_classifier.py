"""A classifier gives what the stock model gives, in batches and in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_checkpoints import finetuned, waveforms

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.extract import waveform_model
from mgf_fairseq.inference.classifier import Classifier


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetuned(tmp_path_factory.mktemp("cls") / "ck.pt", "classification", "xyz")


def test_probabilities_are_those_of_the_stock_model(path: Path) -> None:
    classifier = Classifier.load(path)
    given = waveforms(8000, 5000, 400)
    for waveform, found in zip(given, classifier(given), strict=True):
        row = torch.from_numpy(waveform)
        source = F.layer_norm(row, row.shape)[None]
        mask = torch.zeros_like(source, dtype=torch.bool)
        with torch.no_grad():
            logits = classifier.frames.model(source=source, padding_mask=mask)
        expected = dict(zip("xyz", logits[0].softmax(-1).tolist(), strict=True))
        assert found.probabilities == pytest.approx(expected, abs=1e-5)
        assert found.label == max(expected, key=expected.__getitem__)


def test_a_long_recording_is_pooled_over_all_of_its_pieces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier.load(path)
    (waveform,) = waveforms(16000 * 9)
    (whole,) = classifier(waveform)
    for name, seconds in (("LONG_SECONDS", 4), ("PIECE_SECONDS", 2), ("CONTEXT_SECONDS", 1)):
        monkeypatch.setattr(waveform_model, name, seconds)
    (pieces,) = classifier(waveform)
    assert pieces.probabilities == pytest.approx(whole.probabilities, abs=0.02)
    assert pieces.probabilities != whole.probabilities


def test_labels_of_another_training_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "dict.spk.txt").write_text("x 1\nw 1\nz 1\n")
    with pytest.raises(CheckpointError, match="not the symbols"):
        Classifier.load(path, tmp_path)
    (tmp_path / "dict.spk.txt").write_text("x 3\ny 2\nz 1\n")
    assert Classifier.load(path, tmp_path).labels == ["x", "y", "z"]
