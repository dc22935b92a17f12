"""Tables: with quotes, of Common Voice, of a Hugging Face folder; bad rows are named."""

from __future__ import annotations

import json

import pytest
from written import lines, rows, run_whole, write_audio

from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.registry import detect_layout


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_quoted_csv_is_read_with_any_delimiter_and_usual_names(corpus, tmp_path, delimiter):
    cells = [
        ["File", "Transcription", "speaker_id", "age"],
        ["a.wav", f'"yes{delimiter} ""you"""', "x", "7"],
        ["b.wav", '"two\nlines"', "y", "8"],
        ["c.wav", '5" of it', "y", "8"],
    ]
    text = "\r\n".join(delimiter.join(row) for row in cells) + "\r\n"
    (corpus / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    summary = run_whole(
        corpus, tmp_path / "d", labels=("wrd", "spk"), search=Search(labels={"age": "age"})
    )
    assert summary.layout == "table" and not summary.skipped
    assert rows(tmp_path / "d") == ["a.wav", "b.wav", "c.wav"]
    assert lines(tmp_path / "d/train.wrd") == [
        f'YES{delimiter.strip()} "YOU"',
        "TWO LINES",
        '5" OF IT',
    ]
    assert lines(tmp_path / "d/train.spk") == ["x", "y", "y"]
    assert lines(tmp_path / "d/train.age") == ["7", "8", "8"]


def test_columns_of_other_names_are_given_and_unread_ones_are_named(corpus, tmp_path):
    (corpus / "metadata.csv").write_text("rec,said,who,mood\na.wav,hello,x,7\n")
    with pytest.raises(PrepareError, match=r"found: rec, said, who, mood.*--columns path=NAME"):
        run_whole(corpus, tmp_path / "d")
    columns = {"path": "rec", "text": "said"}
    notes = run_whole(corpus, tmp_path / "d", search=Search(columns=columns)).notes
    assert lines(tmp_path / "d/train.wrd") == ["HELLO"]
    assert any("columns not read: who, mood" in note for note in notes)
    for wrong, words in [({"path": "file"}, "no column 'file'"), ({"voice": "who"}, "choose from")]:
        with pytest.raises(PrepareError, match=words):
            run_whole(corpus, tmp_path / "d", search=Search(columns=wrong))


def test_each_bad_row_of_a_table_is_skipped_by_line_and_the_others_are_prepared(corpus, tmp_path):
    table = [
        b"path,text,split",
        b"a.wav,fine,train",
        b"b.wav,caf\xe9,train",
        b'b.wav,"open,train',
        b"b.wav,one,two,train",
        b",nothing,train",
        b"../b.wav,out,train",
        b"b\0.wav,nul,train",
        b"b.txt,text,train",
        b"b.wav,no split,",
        b"b.wav,bad split,a/b",
        b"b.wav,a | b,train",
        b"c.wav," + b"x" * 200_000 + b",train",
        "d.wav,a\u2028b\x85c\x0bd,train".encode(),
    ]
    (corpus / "metadata.csv").write_bytes(b"\n".join(table) + b"\n")
    summary = run_whole(corpus, tmp_path / "d")
    assert rows(tmp_path / "d") == ["a.wav", "c.wav", "d.wav"]
    assert lines(tmp_path / "d/train.wrd")[2] == "A B C D"
    reasons = sorted(reason for _, reason in summary.skipped)
    assert len(reasons) == 10
    listed = (tmp_path / "d/skipped.txt").read_text(encoding="utf-8")
    assert len(lines(tmp_path / "d/skipped.txt")) == 11 and "metadata.csv line 5" in listed
    for words in (
        "UTF-8",
        "quotes",
        "4 cells for 3",
        "path is empty",
        "leaves",
        "NUL",
        "extension",
    ):
        assert any(words in reason for reason in reasons), words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"path,text,path\na.wav,x,y\n", "two columns called 'path'"),
        ("path,text\na.wav,x\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"path,t\xe9xt\na.wav,x\n", "line 1 is not UTF-8"),
        (b"path,text\nx.pcm,x\n", "extension"),
    ],
)
def test_a_table_that_is_none_is_refused(corpus, tmp_path, content, words):
    (corpus / "metadata.csv").write_bytes(content)
    with pytest.raises(PrepareError, match=words):
        run_whole(corpus, tmp_path / "d")


def test_a_table_that_is_seen_and_not_read_is_named_with_what_reads_it(corpus, tmp_path):
    (corpus / "labels.csv").write_text("file,sentence\na.wav,hello\n")
    notes = run_whole(corpus, tmp_path / "d").notes
    assert any("labels.csv" in note and "mgf prepare" in note for note in notes)
    run_whole(corpus / "labels.csv", tmp_path / "e")
    assert lines(tmp_path / "e/train.wrd") == ["HELLO"]


def test_phones_of_a_bad_row_or_of_two_rows_of_one_name_are_not_guessed(corpus, tmp_path):
    (corpus / "metadata.tsv").write_text("utt\tpath\nu\ta.wav\nu\tb.wav\nv\tc.wav\nw\td.wav\n")
    (corpus / "phones.tsv").write_text(
        "utt\tstart\tend\tphone\nu\t0\t1\tAA\nv\t0\tx\tBB\nv\t0.5\t1\t\nw\t0\t1\tCC\n"
    )
    notes = " ".join(run_whole(corpus, tmp_path / "d").notes)
    labels = [set(line.split()) for line in lines(tmp_path / "d/train.phn")]
    assert labels == [{"-"}, {"-"}, {"-"}, {"CC"}]
    assert "'u'" in notes and "phones.tsv line 3" in notes


def test_common_voice_is_read_from_its_own_tables(tmp_path):
    head = "client_id\tpath\tsentence\tage\n"
    for name in "abcd":
        write_audio(tmp_path / "cv/clips" / f"{name}.wav")
    (tmp_path / "cv/validated.tsv").write_text(
        head + "".join(f'{n}{n}\t{n}.wav\t"Hello", {n}\t\n' for n in "abcd")
    )
    assert detect_layout(tmp_path / "cv", Search()) == "common-voice"
    run_whole(tmp_path / "cv", tmp_path / "all")
    assert rows(tmp_path / "all") == [f"clips/{n}.wav" for n in "abcd"]
    assert lines(tmp_path / "all/train.wrd")[0] == '"HELLO", A'
    assert lines(tmp_path / "all/train.spk") == ["aa", "bb", "cc", "dd"]
    for split, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        (tmp_path / f"cv/{split}.tsv").write_text(f"{head}{name}\t{name}.wav\tYes\t\n")
    summary = run_whole(tmp_path / "cv", tmp_path / "own")
    assert [rows(tmp_path / "own", split) for split in ("train", "valid", "test")] == [
        ["clips/a.wav"],
        ["clips/b.wav"],
        ["clips/c.wav"],
    ]
    assert any("validated.tsv" in note for note in summary.notes)
    run_whole(tmp_path / "cv/validated.tsv", tmp_path / "named")
    assert len(rows(tmp_path / "named")) == 4


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_hugging_face_folder_keeps_its_splits_and_its_relative_paths(tmp_path, kind):
    for split, name in (("train", "a"), ("validation", "b")):
        write_audio(tmp_path / "hf" / split / "audio" / f"{name}.wav")
        table = tmp_path / "hf" / split / f"metadata.{kind}"
        if kind == "csv":
            table.write_text(f'file_name,transcription,lang\naudio/{name}.wav,"so, it is",en\n')
        else:
            row = {"file_name": f"audio/{name}.wav", "transcription": "so, it is", "lang": "en"}
            table.write_text(json.dumps(row) + "\n[1]\n{broken\n")
    summary = run_whole(tmp_path / "hf", tmp_path / "d", search=Search(labels={"lang": "lang"}))
    assert summary.layout == "huggingface"
    assert rows(tmp_path / "d") == ["train/audio/a.wav"]
    assert rows(tmp_path / "d", "valid") == ["validation/audio/b.wav"]
    assert lines(tmp_path / "d/valid.wrd") == ["SO, IT IS"]
    assert lines(tmp_path / "d/dict.lang.txt") == ["en 1"]
    assert len(summary.skipped) == (0 if kind == "csv" else 4)
