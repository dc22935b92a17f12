"""Kaldi folders."""

from __future__ import annotations

from written import lines, rows, run_whole, write_audio

from mgf_fairseq.prepare.corpora.base import Search


def test_a_kaldi_folder_gives_segments_text_and_speakers_and_pipes_are_named(tmp_path):
    for name in ("r1", "r2"):
        write_audio(tmp_path / "egs/wavs" / f"{name} x.wav", 4.0)
    data = tmp_path / "egs/data/train"
    data.mkdir(parents=True)
    (data / "wav.scp").write_text(
        f"r1 wavs/r1 x.wav\nr2 {tmp_path}/egs/wavs/r2 x.wav\nr3 sox x.sph -t wav - |\nr4 a.ark:17\n"
    )
    (data / "segments").write_text("u1 r1 0.5 1.5\nu2 r2 1 -1\nu3 r3 0 1\nu4 r1 2 2\nu5 r1 x\n")
    (data / "text").write_bytes(b"u1 SO IT IS\nu2 \xe9\nu9 NO AUDIO\n")
    (data / "utt2spk").write_text("u1 s1\nu2 s2\n")
    (data / "utt2lang").write_text("u1 en\nu2 de\n")
    summary = run_whole(data, tmp_path / "d", search=Search(labels={"lang": "lang"}))
    assert summary.layout == "kaldi"
    assert rows(tmp_path / "d") == ["r1 x.wav:8000:16000"]
    assert lines(tmp_path / "d/train.wrd") == ["SO IT IS"]
    assert lines(tmp_path / "d/train.lang") == ["en"]
    reasons = dict(summary.skipped)
    assert "pipe" in reasons["r3"] and "no audio file" in reasons["r4"]
    assert set(reasons) == {"r3", "r4", "u3", "u4", "u5", "u9", "r2 x.wav"}
    run_whole(data, tmp_path / "e", labels=("spk",))
    assert rows(tmp_path / "e") == ["r1 x.wav:8000:16000", "r2 x.wav:16000:48000"]


def test_a_name_with_two_lines_in_a_kaldi_file_is_taken_from_neither(corpus, tmp_path):
    (corpus / "wav.scp").write_text("a a.wav\nb b.wav\nb c.wav\nd d.wav\n")
    (corpus / "text").write_text("a ONE\nd TWO\nd TWO\n")
    summary = run_whole(corpus, tmp_path / "d")
    assert rows(tmp_path / "d") == ["a.wav", "d.wav"]
    assert lines(tmp_path / "d/train.wrd") == ["ONE", "TWO"]
    assert summary.skipped == [("b", "it is twice in wav.scp, with different content")]
