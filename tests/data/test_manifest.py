"""Manifests: what is read, refused and written; and that stock fairseq reads what we write."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import soundfile

from mgf_fairseq.data.entries import ManifestError, parse_entry
from mgf_fairseq.data.manifest import PathTable, read_manifest, write_manifest


def test_a_written_manifest_reads_back_the_same(tmp_path):
    rows = [("a/b.flac", 16000), ("grüße:1.wav", 400), ("c d.ogg:100:200", 200)]
    write_manifest(tmp_path / "train.tsv", "/data", rows)
    manifest = read_manifest(tmp_path / "train.tsv")
    assert list(manifest.paths) == [name for name, _ in rows]
    assert manifest.num_samples.tolist() == [count for _, count in rows]
    assert manifest.num_samples.dtype == np.int64
    assert manifest.entry(0) == "/data/a/b.flac"
    assert len(manifest) == 3 and manifest.paths[-1] == rows[-1][0]
    assert manifest.paths[0:2] == ["a/b.flac", "grüße:1.wav"]


def test_stock_fairseq_reads_the_written_manifest(tmp_path):
    from fairseq.data import FileAudioDataset

    waveform = np.linspace(-0.5, 0.5, 1600, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(tmp_path / "a.wav", "a.wav")
        header = archive.getinfo("a.wav")
    offset = header.header_offset + 30 + len("a.wav")
    entry = f"all.zip:{offset}:{header.file_size}"
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 1600), (entry, 1600)])
    dataset = FileAudioDataset(str(tmp_path / "train.tsv"), sample_rate=16000)
    assert dataset.sizes.tolist() == [1600, 1600]
    for row in range(2):
        np.testing.assert_array_equal(dataset[row]["source"].numpy(), waveform)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("/data\n", "no rows"),
        ("/data\na.wav\n", "line 2"),
        ("/data\na.wav\t5\nb.wav\t5\t6\n", "line 3"),
        ("/data\na.wav\t5\n\nb.wav\t6\n", "line 3"),
        ("/data\na.wav\t5\nb.wav\tlong\n", "line 3"),
        ("/data\na.wav\t-5\n", "line 2"),
        ("/data\na.wav\t1.5\n", "line 2"),
        ("/data\n\t5\n", "line 2"),
        ("/data\na.wav\t\n", "line 2"),
        ("/data\na.wav\t5\nb.wav\t   \nc.wav\t6\n", "line 3"),
        ("/data\na.wav\t5\nb.wav\t1 2\n", "line 3"),
        ("/data\na.wav\t5\nb.wav\t٣\n", "line 3"),
        ("/data\na.wav\t5\nb.wav\t1234567890123456789\n", "line 3"),
        ("a.wav\t5\nb.wav\t6\n", "root folder"),
    ],
)
def test_a_malformed_manifest_is_refused_with_file_and_line(tmp_path, content, words):
    path = tmp_path / "train.tsv"
    path.write_text(content)
    with pytest.raises(ManifestError, match=words) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_missing_manifest_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(ManifestError, match="mgf prepare"):
        read_manifest(tmp_path / "train.tsv")


def test_windows_line_ends_and_a_missing_last_one_are_accepted(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"/data\r\na.wav\t5\r\nb.wav\t6")
    manifest = read_manifest(tmp_path / "t.tsv")
    assert str(manifest.root) == "/data"
    assert list(manifest.paths) == ["a.wav", "b.wav"]
    assert manifest.num_samples.tolist() == [5, 6]


def test_counts_of_any_width_are_read_as_python_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    texts = [str(rng.integers(0, 10 ** rng.integers(1, 19))) for _ in range(500)]
    padded = [" " * rng.integers(0, 3) + text + " " * rng.integers(0, 3) for text in texts]
    lines = [f"{n}.wav\t{text}\r\n" for n, text in enumerate([*padded, "0", "007"])]
    (tmp_path / "t.tsv").write_text("/data\n" + "".join(lines) + "\n\n", newline="")
    manifest = read_manifest(tmp_path / "t.tsv")
    assert manifest.num_samples.tolist() == [*map(int, texts), 0, 7]
    assert manifest.paths[501] == "501.wav"


def test_an_entry_may_be_absolute_but_not_climb_out_of_the_root(tmp_path):
    rows = [("/else/a.wav", 5), ("../a.wav", 5), ("x/../../a.wav", 5), ("x/../a..b.wav", 5)]
    write_manifest(tmp_path / "t.tsv", tmp_path / "root", rows)
    manifest = read_manifest(tmp_path / "t.tsv")
    assert manifest.entry(0) == "/else/a.wav"
    for row in (1, 2):
        with pytest.raises(ManifestError, match="leaves the root"):
            manifest.entry(row)
    assert manifest.entry(3).endswith("a..b.wav")


def test_a_moved_root_is_named(tmp_path):
    write_manifest(tmp_path / "t.tsv", tmp_path / "gone", [("a.wav", 5)])
    with pytest.raises(ManifestError, match="gone does not exist"):
        read_manifest(tmp_path / "t.tsv").require_root()


@pytest.mark.parametrize("row", [("a\tb.wav", 5), ("a\nb.wav", 5), ("a.wav", -1)])
def test_a_row_that_would_break_the_file_is_refused_and_the_old_file_stays(tmp_path, row):
    path = tmp_path / "t.tsv"
    write_manifest(path, "/data", [("old.wav", 1)])
    with pytest.raises(ManifestError):
        write_manifest(path, "/data", [("new.wav", 1), row])
    assert path.read_text() == "/data\nold.wav\t1\n"
    assert os.listdir(tmp_path) == ["t.tsv"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("a/b.flac", ("a/b.flac", None, None)),
        ("a.zip:10:20", ("a.zip", (10, 20), None)),
        ("a.TAR:10:20", ("a.TAR", (10, 20), None)),
        ("a.zip:10:20:3:4", ("a.zip", (10, 20), (3, 4))),
        ("a.flac:10:20", ("a.flac", None, (10, 20))),
        ("a.flac:1:2:3:4", ("a.flac:1:2", None, (3, 4))),
        ("a:1:b.flac", ("a:1:b.flac", None, None)),
        ("12:30:05.flac", ("12:30:05.flac", None, None)),
        ("x:y.flac:0:20", ("x:y.flac", None, (0, 20))),
        ("a.flac:-1:20", ("a.flac:-1:20", None, None)),
        (f"a.flac:1:{'9' * 5000}", (f"a.flac:1:{'9' * 5000}", None, None)),
    ],
)
def test_the_forms_of_an_entry_are_distinguished(entry, expected):
    parsed = parse_entry(entry)
    assert tuple(parsed) == expected
    assert parsed.archived == (expected[1] is not None)
    assert parsed.recording == ("a.zip:10:20" if entry == "a.zip:10:20:3:4" else parsed.recording)
    segment = ":".join(["", *map(str, parsed.segment or ())]).rstrip(":")
    assert parsed.recording + segment == entry


def test_an_entry_without_samples_is_refused():
    with pytest.raises(ManifestError, match="0 samples"):
        parse_entry("a.flac:5:0")


def test_many_paths_take_little_more_memory_than_their_letters(tmp_path):
    rows = [(f"speaker/chapter/utterance-{i:06d}.flac", i) for i in range(20000)]
    write_manifest(tmp_path / "t.tsv", "/data", rows)
    manifest = read_manifest(tmp_path / "t.tsv")
    size = (tmp_path / "t.tsv").stat().st_size
    # The file's bytes, two offsets and one count of 8 bytes per row, and pickle's framing.
    assert len(pickle.dumps(manifest)) < size + 24 * len(rows) + 2000
    assert manifest.paths[19999] == rows[19999][0]
    assert list(PathTable.from_strings(["a", "", "ü"])) == ["a", "", "ü"]


@pytest.mark.parametrize("name", ["a\u2028b", "a\u0085", "a ", "\u3000", "a\x0b\x1c", " b"])
def test_names_that_break_lines_elsewhere_come_back_as_they_were(tmp_path, name):
    root = tmp_path / f"root{name}"
    write_manifest(tmp_path / "train.tsv", root, [(f"{name}.wav", 5), ("b.wav", 6)])
    manifest = read_manifest(tmp_path / "train.tsv")
    assert manifest.root == root
    assert manifest.paths[:] == [f"{name}.wav", "b.wav"] and manifest.num_samples.tolist() == [5, 6]


def test_a_root_that_cannot_be_on_one_line_is_refused(tmp_path):
    for name in ("a\nb", "a\tb", "a\rb"):
        with pytest.raises(ManifestError, match="cannot be the root"):
            write_manifest(tmp_path / "train.tsv", tmp_path / name, [("a.wav", 5)])
    assert not list(tmp_path.iterdir())


def test_a_byte_order_mark_is_no_part_of_the_root(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"\xef\xbb\xbf/data\r\na.wav\t5\r\n")
    assert str(read_manifest(tmp_path / "train.tsv").root) == "/data"
