"""Tables as people have them become manifests and labels; a bad row is named and costs itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.registry import detect_layout
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


def write_audio(path: Path, seconds: float = 1.0, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = round(16000 * seconds)
    noise = np.random.default_rng(count).uniform(-0.1, 0.1, (count, channels))
    soundfile.write(path, noise, 16000)


def run(source: Path, dest: Path, **options: object) -> Summary:
    options = {"valid_percent": 0, **options}
    return prepare(PrepareOptions(source=source, dest=dest, **options))  # type: ignore[arg-type]


def rows(dest: Path, split: str = "train") -> list[str]:
    return list(read_manifest(dest / f"{split}.tsv").paths)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in "abcd":
        write_audio(tmp_path / "c" / f"{name}.wav")
    return tmp_path / "c"


# ---- CSV


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
    summary = run(
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
        run(corpus, tmp_path / "d")
    columns = {"path": "rec", "text": "said"}
    notes = run(corpus, tmp_path / "d", search=Search(columns=columns)).notes
    assert lines(tmp_path / "d/train.wrd") == ["HELLO"]
    assert any("columns not read: who, mood" in note for note in notes)
    for wrong, words in [({"path": "file"}, "no column 'file'"), ({"voice": "who"}, "choose from")]:
        with pytest.raises(PrepareError, match=words):
            run(corpus, tmp_path / "d", search=Search(columns=wrong))


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
    summary = run(corpus, tmp_path / "d")
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
        run(corpus, tmp_path / "d")


def test_a_table_that_is_seen_and_not_read_is_named_with_what_reads_it(corpus, tmp_path):
    (corpus / "labels.csv").write_text("file,sentence\na.wav,hello\n")
    notes = run(corpus, tmp_path / "d").notes
    assert any("labels.csv" in note and "mgf prepare" in note for note in notes)
    run(corpus / "labels.csv", tmp_path / "e")
    assert lines(tmp_path / "e/train.wrd") == ["HELLO"]


def test_phones_of_a_bad_row_or_of_two_rows_of_one_name_are_not_guessed(corpus, tmp_path):
    (corpus / "metadata.tsv").write_text("utt\tpath\nu\ta.wav\nu\tb.wav\nv\tc.wav\nw\td.wav\n")
    (corpus / "phones.tsv").write_text(
        "utt\tstart\tend\tphone\nu\t0\t1\tAA\nv\t0\tx\tBB\nv\t0.5\t1\t\nw\t0\t1\tCC\n"
    )
    notes = " ".join(run(corpus, tmp_path / "d").notes)
    labels = [set(line.split()) for line in lines(tmp_path / "d/train.phn")]
    assert labels == [{"-"}, {"-"}, {"-"}, {"CC"}]
    assert "'u'" in notes and "phones.tsv line 3" in notes


# ---- Common Voice and Hugging Face


def test_common_voice_is_read_from_its_own_tables(tmp_path):
    head = "client_id\tpath\tsentence\tage\n"
    for name in "abcd":
        write_audio(tmp_path / "cv/clips" / f"{name}.wav")
    (tmp_path / "cv/validated.tsv").write_text(
        head + "".join(f'{n}{n}\t{n}.wav\t"Hello", {n}\t\n' for n in "abcd")
    )
    assert detect_layout(tmp_path / "cv", Search()) == "common-voice"
    run(tmp_path / "cv", tmp_path / "all")
    assert rows(tmp_path / "all") == [f"clips/{n}.wav" for n in "abcd"]
    assert lines(tmp_path / "all/train.wrd")[0] == '"HELLO", A'
    assert lines(tmp_path / "all/train.spk") == ["aa", "bb", "cc", "dd"]
    for split, name in (("train", "a"), ("dev", "b"), ("test", "c")):
        (tmp_path / f"cv/{split}.tsv").write_text(f"{head}{name}\t{name}.wav\tYes\t\n")
    summary = run(tmp_path / "cv", tmp_path / "own")
    assert [rows(tmp_path / "own", split) for split in ("train", "valid", "test")] == [
        ["clips/a.wav"],
        ["clips/b.wav"],
        ["clips/c.wav"],
    ]
    assert any("validated.tsv" in note for note in summary.notes)
    run(tmp_path / "cv/validated.tsv", tmp_path / "named")
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
    summary = run(tmp_path / "hf", tmp_path / "d", search=Search(labels={"lang": "lang"}))
    assert summary.layout == "huggingface"
    assert rows(tmp_path / "d") == ["train/audio/a.wav"]
    assert rows(tmp_path / "d", "valid") == ["validation/audio/b.wav"]
    assert lines(tmp_path / "d/valid.wrd") == ["SO, IT IS"]
    assert lines(tmp_path / "d/dict.lang.txt") == ["en 1"]
    assert len(summary.skipped) == (0 if kind == "csv" else 4)


# ---- Kaldi


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
    summary = run(data, tmp_path / "d", search=Search(labels={"lang": "lang"}))
    assert summary.layout == "kaldi"
    assert rows(tmp_path / "d") == ["r1 x.wav:8000:16000"]
    assert lines(tmp_path / "d/train.wrd") == ["SO IT IS"]
    assert lines(tmp_path / "d/train.lang") == ["en"]
    reasons = dict(summary.skipped)
    assert "pipe" in reasons["r3"] and "no audio file" in reasons["r4"]
    assert set(reasons) == {"r3", "r4", "u3", "u4", "u5", "u9", "r2 x.wav"}
    run(data, tmp_path / "e", labels=("spk",))
    assert rows(tmp_path / "e") == ["r1 x.wav:8000:16000", "r2 x.wav:16000:48000"]


def test_a_name_with_two_lines_in_a_kaldi_file_is_taken_from_neither(corpus, tmp_path):
    (corpus / "wav.scp").write_text("a a.wav\nb b.wav\nb c.wav\nd d.wav\n")
    (corpus / "text").write_text("a ONE\nd TWO\nd TWO\n")
    summary = run(corpus, tmp_path / "d")
    assert rows(tmp_path / "d") == ["a.wav", "d.wav"]
    assert lines(tmp_path / "d/train.wrd") == ["ONE", "TWO"]
    assert summary.skipped == [("b", "it stands twice in wav.scp, with different content")]


# ---- lhotse


def lhotse_recording(path: Path, name: str, **changes: object) -> dict[str, object]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {
        "id": name,
        "sources": [source],
        "sampling_rate": 16000,
        "num_samples": 64000,
        "duration": 4.0,
        **changes,
    }


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_lhotse_manifests_are_read_plainly_and_odd_items_are_named(tmp_path, ending):
    for name in ("a", "b"):
        write_audio(tmp_path / "audio" / f"{name}.wav", 4.0)
    write_audio(tmp_path / "audio/st.wav", 4.0, 2)
    audio = tmp_path / "audio"
    both = [{"type": "file", "channels": [0, 1], "source": str(audio / "st.wav")}]
    command = [{"type": "command", "channels": [0], "source": "cat x"}]
    recordings = [
        lhotse_recording(audio / "a.wav", "a"),
        lhotse_recording(audio / "b.wav", "b"),
        lhotse_recording(audio / "st.wav", "st", sources=both),
        lhotse_recording(audio / "c.wav", "c", sources=command),
    ]

    def supervision(
        name: str, start: object, duration: object, **more: object
    ) -> dict[str, object]:
        head = {"id": name, "recording_id": name[0], "start": start, "duration": duration}
        return {
            **head,
            "channel": 0,
            "text": f"Text {name}",
            "speaker": "s",
            "language": "en",
            **more,
        }

    supervisions = [
        supervision("a1", 0, 4.0),
        supervision("b1", 1.0, 0.5),
        supervision("b2", 1.0, 0),
        supervision("b3", 1.0, None),
        supervision("c1", 0, 4.0),
        supervision("st1", 0, 4.0, recording_id="st", channel=1),
        supervision("b4", 2.0, 1.0, text="", custom={"mood": "sad"}),
    ]
    (tmp_path / "m").mkdir()
    for kind, items in (("recordings", recordings), ("supervisions", supervisions)):
        text = "".join(json.dumps(item) + "\n" for item in items).encode()
        path = tmp_path / "m" / f"x_{kind}_dev.{ending}"
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    summary = run(tmp_path / "m", tmp_path / "d", search=Search(labels={"lang": "language"}))
    assert summary.layout == "lhotse"
    assert rows(tmp_path / "d") == ["a.wav", "b.wav:16000:8000"]
    assert lines(tmp_path / "d/train.wrd") == ["TEXT A1", "TEXT B1"]
    assert lines(tmp_path / "d/train.lang") == ["en", "en"]
    named = [name for name, _ in summary.skipped]
    assert named == ["b.wav", "b2", "b3", "c", "c1", "st1"]


# ---- labels from columns and names


def test_labels_come_from_names_and_each_has_a_dictionary(tmp_path, corpus):
    for name in ("yes_anna_1", "no_anna_2", "yes_bo_1", "odd"):
        write_audio(tmp_path / "k" / f"{name}.wav")
    pattern = r"(?P<word>[a-z]+)_(?P<speaker>[a-z]+)_\d"
    summary = run(tmp_path / "k", tmp_path / "d", label_from=pattern)
    assert summary.labels == ["spk", "word"]
    assert lines(tmp_path / "d/train.word") == ["no", "yes", "yes"]
    assert lines(tmp_path / "d/train.spk") == ["anna", "anna", "bo"]
    assert lines(tmp_path / "d/dict.word.txt") == ["yes 2", "no 1"]
    assert summary.skipped == [("odd.wav", "its path does not fit --label-from")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_from": "("}, "no regular expression"),
        ({"label_from": "a"}, "names no group"),
        ({"label_from": "(?P<zz>zz)"}, "fits none of the paths"),
        ({"label_from": "(?P<wav>a)"}, "ending of other files"),
        ({"search": Search(labels={"lang": "lang"})}, "belongs to --corpus"),
        ({"search": Search(labels={"a b": "lang"})}, "letters, digits"),
    ],
)
def test_a_label_that_cannot_be_made_is_refused(corpus, tmp_path, options, words):
    with pytest.raises(PrepareError, match=words):
        run(corpus, tmp_path / "d", **options)


def test_a_row_without_the_label_asked_for_is_skipped_and_merged_classes_are_named(
    corpus, tmp_path
):
    (corpus / "metadata.csv").write_text(
        "path,mood\na.wav,very sad\nb.wav,very_sad\nc.wav,\nd.wav,glad\n"
    )
    summary = run(corpus, tmp_path / "d", search=Search(labels={"mood": "mood"}))
    assert lines(tmp_path / "d/train.mood") == ["very_sad", "very_sad", "glad"]
    assert summary.skipped == [("c.wav", "it has no mood")]
    assert any("become one class" in note for note in summary.notes)


def test_stock_fairseq_classifies_by_a_label_of_a_column(corpus, tmp_path):
    from fairseq.tasks.audio_classification import (
        AudioClassificationConfig,
        AudioClassificationTask,
    )
    from omegaconf import OmegaConf

    (corpus / "metadata.csv").write_text("path,mood\na.wav,sad\nb.wav,glad\nc.wav,sad\n")
    run(corpus, tmp_path / "d", search=Search(labels={"mood": "mood"}))
    given = AudioClassificationConfig(data=str(tmp_path / "d"), labels="mood")
    whole = OmegaConf.create({"task": given, "common": {"tpu": False, "seed": 1}})
    task = AudioClassificationTask.setup_task(whole.task)
    task.load_dataset("train")
    assert [int(task.dataset("train")[row]["label"]) for row in range(3)] == [0, 1, 0]
