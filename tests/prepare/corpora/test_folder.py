"""Folders of LibriSpeech, and of transcripts beside the audio."""

from written import lines, names, run

from mgf_fairseq.prepare.corpora.base import Search
from mgf_fairseq.prepare.corpora.registry import detect_layout


def test_librispeech_subsets_give_letters_words_and_speakers(librispeech, tmp_path):
    assert detect_layout(librispeech, Search()) == "librispeech"
    summary = run(librispeech, tmp_path / "o", valid_percent=0.25)
    assert summary.labels == ["ltr", "wrd", "spk"]
    for split in ("train", "valid"):
        for name, letters, words, speaker in zip(
            names(tmp_path / "o", split),
            lines(tmp_path / "o" / f"{split}.ltr"),
            lines(tmp_path / "o" / f"{split}.wrd"),
            lines(tmp_path / "o" / f"{split}.spk"),
            strict=True,
        ):
            letter = "ABCD"[int(name[-1])]
            assert words == f"HELLO NUMBER {letter}"
            assert letters == f"H E L L O | N U M B E R | {letter} |"
            assert speaker == name.split("-")[0]
    assert lines(tmp_path / "o" / "dict.ltr.txt")[0] == "| 18"  # 6 utterances of 3 words


def test_transcripts_beside_the_audio_are_found(folder, tmp_path):
    for path in folder.rglob("*.wav"):
        path.with_suffix(".txt").write_text(f"Word {path.stem}\n")
    (folder / "a" / "a0.txt").unlink()
    assert detect_layout(folder, Search()) == "wav-txt"
    auto = run(folder, tmp_path / "auto")
    assert auto.labels == ["ltr", "wrd"] and auto.skipped == [("a/a0.wav", "no transcript")]
    summary = run(folder, tmp_path / "o", labels=("wrd",), valid_percent=0)
    assert summary.skipped == [("a/a0.wav", "no transcript")]
    expected = [f"WORD {name.upper()}" for name in names(tmp_path / "o", "train")]
    assert lines(tmp_path / "o" / "train.wrd") == expected and len(expected) == 19
