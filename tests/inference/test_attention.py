"""The attention decoder writes what fairseq's own generation writes, long recordings in windows."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import soundfile
import torch
from export import exported
from fairseq.sequence_generator import SequenceGenerator

from mgf_fairseq.cli import main
from mgf_fairseq.inference import attention
from mgf_fairseq.inference.attention import joined, windows
from mgf_fairseq.inference.recognizer import Recognizer


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.seq2seq(tmp_path_factory.mktemp("seq2seq") / "ck.pt")


@pytest.mark.parametrize("beam", [1, 3])
def test_text_is_that_of_fairseqs_generation_from_the_waveform(path: Path, beam: int) -> None:
    recognizer = Recognizer.load(path, beam=beam)
    waveform = torch.randn(8000)
    source = torch.nn.functional.layer_norm(waveform, waveform.shape)[None]
    generator = SequenceGenerator(
        [recognizer.model], recognizer.dictionary, beam_size=beam, max_len=int(24 * 0.48 + 20) + 1
    )  # 24 frames: 0.48 s
    given = {"source": source, "padding_mask": torch.zeros_like(source, dtype=torch.bool)}
    best = generator.generate([], {"net_input": given})[0][0]
    (found,) = recognizer.decoder.decode([recognizer.frames([waveform]).hidden_states[0][0]])
    assert found.symbols == best["tokens"].tolist()[:-1]
    assert found.score == pytest.approx(float(best["positional_scores"].sum()), abs=1e-3)


def test_a_batch_is_transcribed_as_its_utterances_alone_with_confidence_and_no_times(
    path: Path,
) -> None:
    recognizer = Recognizer.load(path)
    waveforms = [torch.randn(n) for n in (16000, 4000, 12345)]
    together = recognizer.transcribe([*waveforms, torch.zeros(8000)])
    for waveform, found in zip(waveforms, together[:3], strict=True):
        (alone,) = recognizer.transcribe(waveform)
        assert found.text == alone.text != "" and found.words == []
        assert found.confidence == pytest.approx(alone.confidence, abs=1e-4)
        assert 0 < found.confidence <= 1
    assert together[3].text == "" and together[3].flags == ["silent"]


def test_windows_overlap_and_hold_every_frame() -> None:
    frames = torch.arange(100.0)[:, None]
    found = list(windows([frames[:37], frames[37:90], frames[90:]], long=40, most=20, overlap=4))
    assert [len(window) for window in found] == [20, 20, 20, 20, 36]
    assert all(torch.equal(a[-4:], b[:4]) for a, b in itertools.pairwise(found))
    assert torch.equal(torch.cat([found[0], *(window[4:] for window in found[1:])]), frames)
    assert [len(one) for one in windows([frames[:40]], 40, 20, 4)] == [40]


def test_windows_are_joined_where_both_heard_the_same() -> None:
    def known(text: str) -> list[tuple[int, float]]:
        return [(ord(letter), 0.5) for letter in text]

    def text(found: list[tuple[int, float]]) -> str:
        return "".join(chr(symbol) for symbol, _ in found)

    whole = joined(known("the cat sat on the ma"), known("at on the mat again"), 12)
    assert text(whole) == "the cat sat on the mat again"
    assert text(joined(known("abc"), known("xyz"), 3)) == "abcxyz"  # nothing in common
    assert text(joined([], known("abc"), 0)) == "abc"


def test_a_long_recording_is_decoded_in_windows_of_its_pieces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LONG", 2.0), ("WINDOW", 1.0), ("OVERLAP", 0.2)):
        monkeypatch.setattr(attention, f"{name}_SECONDS", value)
    recognizer = Recognizer.load(path)
    (frames,) = recognizer.frames([torch.randn(16000 * 3)]).hidden_states[0]
    (whole,) = recognizer.decoder.decode([frames])
    (parts,) = recognizer.decoder.decode(iter([frames[:70], frames[70:]]))
    assert (parts.symbols, parts.num_frames) == (whole.symbols, len(frames))


def test_commands_score_and_transcribe_and_refuse_what_it_cannot_say(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * torch.randn(16000).numpy(), 16000)
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\na.wav\t16000\n")
    (tmp_path / "test.ltr").write_text("A B | C |\n")
    (tmp_path / "words.txt").write_text("AB\n")
    audio = f"{tmp_path}/a.wav"
    scored = ["score", "--checkpoint", str(path), "--manifest", f"{tmp_path}/test.tsv"]
    assert main([*scored, "--beam", "2"]) == 0
    out = capsys.readouterr().out
    assert "decoding     beam 2" in out and "WER" in out and "blank" not in out
    assert main(["transcribe", str(path), audio, "--txt"]) == 0
    (expected,) = Recognizer.load(path).transcribe(audio)
    assert capsys.readouterr().out == f"{expected.text}\n"
    for option in ("--words", "--srt"):
        assert main(["transcribe", str(path), audio, option]) == 2
        assert "does not know where words are" in capsys.readouterr().err
    assert main([*scored, "--words", f"{tmp_path}/words.txt"]) == 2
    assert "takes no words and no language model" in capsys.readouterr().err
    assert main([*scored, "--tune", f"{tmp_path}/words.txt"]) == 2
    assert "no weights to tune" in capsys.readouterr().err
