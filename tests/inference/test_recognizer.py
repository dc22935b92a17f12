"""A recognizer gives the same in batches and alone, and other checkpoints are named."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from tiny_checkpoints import finetuned

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.extract import waveform_model
from mgf_fairseq.inference.decoding import GreedyDecoder, Hypothesis
from mgf_fairseq.inference.recognizer import Recognizer, load_recognizer


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetuned(tmp_path_factory.mktemp("ctc") / "ck.pt")


def test_a_batch_is_transcribed_as_its_utterances_alone(path: Path) -> None:
    recognizer = Recognizer.load(path)
    assert (recognizer.num_updates, recognizer.padding_invariant) == (7, True)
    waveforms = [torch.randn(n) for n in (16000, 4000, 400, 12345)]
    together = recognizer.transcribe(waveforms)
    for waveform, found in zip(waveforms, together, strict=True):
        (alone,) = recognizer.transcribe(waveform)
        assert (found.text, found.flags) == (alone.text, [])
        assert found.confidence == pytest.approx(alone.confidence, abs=1e-4)
    assert together[0].text


def test_text_is_that_of_the_stock_model_collapsed_by_hand(path: Path) -> None:
    recognizer = Recognizer.load(path)
    waveform = torch.randn(8000)
    source = torch.nn.functional.layer_norm(waveform, waveform.shape)[None]
    mask = torch.zeros_like(source, dtype=torch.bool)
    with torch.no_grad():
        output = recognizer.model(source=source, padding_mask=mask)
        best = recognizer.model.get_logits(output).argmax(dim=-1)[:, 0].tolist()
    runs = [now for i, now in enumerate(best) if i == 0 or now != best[i - 1]]
    spelled = {4: " ", 5: "A", 6: "B", 1: "\u2047", 3: "\u2047"}  # <pad>, <unk>; 0 is the blank
    expected = "".join(spelled[symbol] for symbol in runs if symbol not in (0, 2))
    assert recognizer.transcribe(waveform)[0].text == " ".join(expected.split())


def test_waveforms_are_taken_as_people_have_them(path: Path, tmp_path: Path) -> None:
    recognizer = Recognizer.load(str(path))
    waveform = np.random.default_rng(0).normal(size=8000)
    (expected,) = recognizer.transcribe(torch.from_numpy(waveform).float())
    assert recognizer.transcribe(waveform.astype(">f8")[::-1][::-1]) == [expected]
    soundfile.write(tmp_path / "a.wav", 0.1 * waveform, 16000, subtype="FLOAT")
    (file,) = recognizer.transcribe(str(tmp_path / "a.wav"))
    assert (file.text, file.seconds) == (expected.text, 0.5)
    telephone, short = recognizer.transcribe([waveform, waveform[:199]], sample_rate=8000)
    assert telephone.seconds == 1.0 and short.flags == ["too short"] and short.text == ""
    spoiled = [waveform, np.append(waveform, np.nan)]
    with pytest.raises(ValueError, match=r"^waveform 1: holds 1 samples that are NaN"):
        recognizer.transcribe(spoiled)
    with pytest.raises(ValueError, match=r"none.wav: no such file"):
        recognizer.transcribe([waveform, "none.wav"])


def test_normalization_is_taken_from_the_checkpoint(path: Path, tmp_path: Path) -> None:
    waveform = torch.randn(16000)
    recognizer = Recognizer.load(path)
    texts = [recognizer.transcribe(x)[0].text for x in (0.1 * waveform + 0.5, waveform)]
    assert recognizer.normalize and texts[0] == texts[1]
    plain = Recognizer.load(finetuned(tmp_path / "plain.pt", normalize=False))
    assert not plain.normalize and plain.transcribe(0.1 * waveform + 0.5)[0].text != texts[0]


def test_silence_and_a_constant_are_flagged_and_nobody_speaks_in_them(path: Path) -> None:
    recognizer = Recognizer.load(path)
    found = recognizer.transcribe([np.zeros(16000), np.full(16000 * 70, 0.3)])
    assert [one.flags for one in found] == [["silent"], ["silent"]]
    assert all(one.text == "" and not one.words and one.confidence is None for one in found)


def test_another_decoder_gets_the_frames_of_a_long_recording_piece_by_piece(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"LONG_SECONDS": 4.0, "PIECE_SECONDS": 2.0, "CONTEXT_SECONDS": 1.0}
    for name, value in seconds.items():
        monkeypatch.setattr(waveform_model, name, value)
    recognizer = Recognizer.load(path)
    pieces: list[int] = []

    class Watching:
        def decode(self, log_probs) -> list[Hypothesis]:  # type: ignore[no-untyped-def]
            stretches = list(log_probs)
            pieces.extend(len(stretch) for stretch in stretches)
            assert all(abs(float(s.exp().sum()) - len(s)) < 1e-3 * len(s) for s in stretches)
            return GreedyDecoder(recognizer.blank).decode(stretches)

    waveform = torch.randn(16000 * 9)
    (found,) = recognizer.transcribe(waveform, decoder=Watching())
    assert len(pieces) == 5 and sum(pieces) == recognizer.geometry.num_frames(len(waveform))
    assert all(0 <= word.start < word.end <= 9 for word in found.words)


def test_another_dictionary_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "dict.ltr.txt"
    other.write_text("A 1\n")
    with pytest.raises(CheckpointError, match=r"7 outputs.*5 symbols"):
        load_recognizer(path, tmp_path, other)
    other.write_text("| 1\nA 1\nC 1\n")
    with pytest.raises(CheckpointError, match="not the symbols"):
        Recognizer.load(path, other)
    other.write_text("| 9\nA 2\nB 1\n")
    assert Recognizer.load(path, tmp_path).dictionary.symbols[-3:] == ["|", "A", "B"]


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ck.pt"
    torch.save({"model": {}, "cfg": {"model": {"_name": "mgf"}}}, path)
    with pytest.raises(CheckpointError, match="'mgf' checkpoint, not one fine-tuned"):
        load_recognizer(path, tmp_path)
    torch.save({"model": {}, "cfg": SimpleNamespace(a=1)}, path)
    with pytest.raises(CheckpointError, match=r"ck\.pt: refused.*SimpleNamespace"):
        load_recognizer(path, tmp_path)
    path.write_bytes(pickle.dumps([1])[:4])
    with pytest.raises(CheckpointError, match="refused"):
        load_recognizer(path, tmp_path)
