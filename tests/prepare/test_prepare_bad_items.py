"""One bad item of a corpus is named, counted and skipped; the others are prepared."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.corpora.registry import detect_layout
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


def write_audio(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(round(seconds)).uniform(-0.1, 0.1, round(16000 * seconds))
    soundfile.write(path, noise, 16000)


def run(source: Path, dest: Path, **options: object) -> Summary:
    options = {"valid_percent": 0, **options}
    return prepare(PrepareOptions(source=source, dest=dest, **options))  # type: ignore[arg-type]


def stems(dest: Path, split: str = "train") -> list[str]:
    return [Path(path).stem for path in read_manifest(dest / f"{split}.tsv").paths]


SPOILT = {
    "bar": b"HELLO | THERE",
    "latin": b"caf\xe9",
    "utf16": "hello".encode("utf-16"),
    "empty": b" \n",
    "nul": b"A\0B",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Audio with transcripts: three are fine in odd ways, five are spoilt."""
    texts = {
        "fine": b"so it is",
        "bom": b"\xef\xbb\xbfso\r\n it is",
        "breaks": "so\u2028it\x85is\x0b\x1c".encode(),
        **SPOILT,
    }
    for name, text in texts.items():
        write_audio(tmp_path / "c" / f"{name}.wav")
        (tmp_path / "c" / f"{name}.txt").write_bytes(text)
    return tmp_path / "c"


def test_a_spoilt_transcript_costs_its_own_row_in_a_folder(corpus, tmp_path):
    summary = run(corpus, tmp_path / "d")
    assert stems(tmp_path / "d") == ["bom", "breaks", "fine"]
    assert (tmp_path / "d/train.wrd").read_bytes() == b"SO IT IS\n" * 3
    assert {Path(path).stem for path, _ in summary.skipped} == set(SPOILT)
    assert (tmp_path / "d/skipped.txt").read_text().count("transcript") == len(SPOILT)


def test_a_spoilt_transcript_costs_nothing_where_no_text_is_wanted(corpus, tmp_path):
    (corpus / "utf16.txt").unlink()
    run(corpus, tmp_path / "d", labels=())
    assert len(stems(tmp_path / "d")) == 8
    notes = run(corpus, tmp_path / "e").notes
    assert len(stems(tmp_path / "e")) == 8
    assert any("2 of 8 have none (empty.wav, utf16.wav)" in note for note in notes)


def table_with_blanks(folder: Path, blanks: int, rows: int = 40) -> Path:
    """A table of `rows` recordings of which the first `blanks` have an empty cell for text."""
    lines = ["path\ttext"]
    for number in range(rows):
        write_audio(folder / f"u{number:02d}.wav", 0.1)
        lines.append(f"u{number:02d}.wav\t{'' if number < blanks else 'YES'}")
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_few_blank_transcripts_cost_their_own_rows(tmp_path):
    summary = run(table_with_blanks(tmp_path / "c", 2), tmp_path / "d")
    assert summary.skipped == [("u00.wav", "no transcript"), ("u01.wav", "no transcript")]
    assert (tmp_path / "d/train.wrd").read_text() == "YES\n" * 38
    assert len(stems(tmp_path / "d")) == 38


@pytest.mark.parametrize("blanks", [3, 40])
def test_many_blank_transcripts_cost_the_text_labels_and_no_audio(tmp_path, blanks):
    summary = run(table_with_blanks(tmp_path / "c", blanks), tmp_path / "d")
    assert not summary.skipped and not summary.labels
    assert any("--labels ltr skips these" in note for note in summary.notes) == (blanks == 3)


def test_empty_transcripts_alone_cost_no_audio(tmp_path):
    for name in ("a", "b"):
        write_audio(tmp_path / "c" / f"{name}.wav", 0.1)
        (tmp_path / "c" / f"{name}.txt").write_text(" ")
    summary = run(tmp_path / "c", tmp_path / "d")
    assert not summary.skipped and not summary.labels


def test_a_spoilt_line_costs_its_own_row_in_librispeech(tmp_path):
    for number in range(5):
        write_audio(tmp_path / "ls/7/1" / f"7-1-{number}.flac")
    (tmp_path / "ls/7/1/7-1.TRANS.TXT").write_bytes(
        b"7-1-0 FINE\n7-1-1 \xe9\n7-1-2\n7-1-3 ONE\n7-1-3 TWO\n7-1-4 A\xe2\x80\xa8B\n"
    )
    assert (
        detect_layout(tmp_path / "ls", PrepareOptions(tmp_path, tmp_path).search) == "librispeech"
    )
    summary = run(tmp_path / "ls", tmp_path / "d", labels=("wrd",))
    assert stems(tmp_path / "d") == ["7-1-0", "7-1-4"]
    assert (tmp_path / "d/train.wrd").read_text() == "FINE\nA B\n"
    assert any("two different transcripts" in reason for _, reason in summary.skipped)


def test_a_spoilt_text_or_an_older_namesake_costs_its_own_row_in_an_archive(tmp_path):
    write_audio(tmp_path / "x.wav")
    audio = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "t").mkdir()
    with tarfile.open(tmp_path / "t/a.tar", "w") as archive:
        for name, content in (
            ("a.wav", audio),
            ("b.wav", audio),
            ("b.TXT", b"caf\xe9"),
            ("a.TXT", b"\xef\xbb\xbfyes"),
            ("a.wav", audio),
            ("c.m4a", b"other"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    summary = run(tmp_path / "t", tmp_path / "d")
    assert len(stems(tmp_path / "d")) == 1
    assert (tmp_path / "d/train.wrd").read_text() == "YES\n"
    assert len(summary.skipped) == 3
    assert {"a.tar/a.wav", "a.tar/c.m4a"} < {path for path, _ in summary.skipped}


def test_suffixes_count_in_any_case_and_what_is_not_read_is_named(tmp_path):
    write_audio(tmp_path / "c/U1.WAV")
    (tmp_path / "c/U1.TXT").write_text("yes")
    (tmp_path / "c/u2.m4a").write_bytes(b"x")
    (tmp_path / "c/U1.TextGrid").write_text("x")
    (tmp_path / "c/prompts.txt").write_text("x")
    summary = run(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d/train.wrd").read_text() == "YES\n"
    assert [path for path, _ in summary.skipped] == ["u2.m4a"]
    assert any("U1.TextGrid" in note and "prompts.txt" in note for note in summary.notes)


def test_a_name_of_two_files_in_a_split_list_is_skipped_unless_it_is_a_path(tmp_path):
    for path in ("x/u.wav", "y/u.wav", "y/v.wav"):
        write_audio(tmp_path / "c" / path)
    (tmp_path / "list").write_text("u valid\nx/u.wav train\nv train\n")
    summary = run(tmp_path / "c", tmp_path / "d", split_list=tmp_path / "list")
    assert stems(tmp_path / "d") == ["u", "v"]
    ((path, reason),) = summary.skipped
    assert path == "y/u.wav" and "u names 2 files" in reason


def test_one_file_without_speaker_does_not_stop_a_split_by_speaker(tmp_path):
    for path in ("s1/a.wav", "s2/b.wav", "c.wav"):
        write_audio(tmp_path / "c" / path)
    options = PrepareOptions(tmp_path / "c", tmp_path / "d").search
    search = type(options)(speaker_level=1)
    summary = run(tmp_path / "c", tmp_path / "d", split_by="speaker", search=search)
    assert summary.skipped == [("c.wav", "it has no speaker, to be split by")]


def test_subwords_are_learned_of_long_lines_and_their_dictionary_is_the_models(tmp_path):
    rare = "ऑळ"
    for number in range(6):
        write_audio(tmp_path / "c" / f"u{number}.wav", 30 if number == 0 else 1)
        word = "कखग" + (rare if number == 0 else "")
        (tmp_path / "c" / f"u{number}.txt").write_text(
            " ".join([word] * (500 if number == 0 else 5))
        )
    (tmp_path / "c/u5.txt").write_text("कखग ▅")  # a sign that SentencePiece keeps for itself
    dest = tmp_path / "d"
    notes = run(tmp_path / "c", dest, labels=("spm",), spm_vocab_size=11).notes
    model = sentencepiece.SentencePieceProcessor(model_file=str(dest / "spm.model"))
    pieces = {model.id_to_piece(number) for number in range(model.get_piece_size())}
    listed = {
        line.rsplit(" ", 1)[0] for line in (dest / "dict.spm.txt").read_text().split("\n")[:-1]
    }
    assert listed <= pieces and any(set(rare) & set(piece) for piece in listed)
    assert any("became no pieces" in note for note in notes)


def test_words_that_fairseq_keeps_for_itself_do_not_stop_its_dictionary(tmp_path):
    from fairseq.data import Dictionary

    write_audio(tmp_path / "c/a.wav")
    (tmp_path / "c/a.txt").write_text("so <unk> it")
    run(tmp_path / "c", tmp_path / "d", case="keep")
    assert len(Dictionary.load(str(tmp_path / "d/dict.wrd.txt"))) == 7
