"""Fuzzed label files, dictionaries and tables: every trouble is said, with its file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzzing import cases, outcome, spoiled
from hypothesis import example, given
from hypothesis import strategies as st

from mgf_fairseq.check.labels import check_labels, read_dictionary
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.data.label_format import UNLABELED
from mgf_fairseq.data.manifest import write_manifest
from mgf_fairseq.data.text import TextError
from mgf_fairseq.encoder.geometry import STANDARD_GRID
from mgf_fairseq.evaluation.labeled import ProbeError, read_labeled
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.table import read_table
from mgf_fairseq.prepare.labels import frame_labels
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import prepare
from mgf_fairseq.prepare.splits import read_split_list

LETTERS = b"T H E | C A T |\nA |\n\nZ Z Z |\n"
DICTIONARY = "T 10\nH 9\nE 8\n| 7\nä 6\n▁<x> 1\n".encode()
TABLE = (
    b"utt\tpath\tspeaker\ttext\temotion\tsplit\tfold\n"
    b"u1\ta.wav\ts1\tHELLO YOU\tsad\ttrain\t1\n"
    b"u2\tb/c.wav\ts2\tYES\tangry\tvalid\t2\n"
)
PHONES = b"utt\tstart\tend\tphone\nu1\t0.0\t0.2\tah\nu1\t0.2\t0.5\t\nu2\t0\t1e-1\tb\n"
STRETCHES = b"utt\tpath\tstart\tend\nu1\ta.wav\t0.0\t0.2\nu2\ta.wav\t0.2\t0.5\nu3\tb/c.wav\t\t\n"
NASTY = (
    *(b"\n", b"\r", b"\r\n", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b" ", b"|", b'"', b"-", b"."),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c", b"\xc2\xb2", b"\xd9\xa3"),
    *(b"nan", b"inf", b"-1", b"1e400", b"../", b"/", b"..", b"x" * 200_000, b"\xed\xa0\x80"),
    *(b"#fairseq:overwrite", b"<unk>", b"start", b"utt", b"path", b"split", b"9" * 5000),
)
MANIFEST_ROWS = [("a.wav", 16000), ("b.wav", 400), ("c.wav", 0), ("d.wav", 32000)]


def lines_of(data: bytes) -> int:
    """Lines as fairseq's loaders count them: what iterating over the open file gives."""
    return sum(1 for _ in io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@given(
    labels=spoiled(LETTERS, NASTY),
    dictionary=spoiled(DICTIONARY, NASTY),
    ending=st.sampled_from(["ltr", "phn", "spk", "wrd", "phones"]),
)
@cases(100)
def test_check_says_what_is_wrong_with_any_label_file(tmp_path_factory, labels, dictionary, ending):
    folder = tmp_path_factory.getbasetemp() / f"labels-{ending}"
    folder.mkdir(exist_ok=True)
    write_manifest(folder / "train.tsv", "/data", MANIFEST_ROWS)
    (folder / f"train.{ending}").write_bytes(labels)
    (folder / f"dict.{ending}.txt").write_bytes(dictionary)
    sizes = [count for _, count in MANIFEST_ROWS]
    problems, _ = outcome(lambda: check_labels(folder / "train.tsv", sizes), (), "")
    rules = {problem.rule for problem in problems}
    try:
        miscounted = lines_of(labels) != len(sizes)
    except UnicodeDecodeError:
        assert "label unreadable" in rules
        return
    assert ("label count" in rules) == miscounted
    wanted = [ending]
    held, said = outcome(
        lambda: read_labeled(folder, "train", wanted), (ProbeError, ManifestError), str(folder)
    )
    assert held is None or len(held.labels[ending]) == len(sizes) or said


@given(data=spoiled(DICTIONARY, NASTY))
@example("x ²\n".encode())
@cases(100)
def test_a_dictionary_is_read_and_its_bad_lines_are_numbered(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "dict.fuzzed.txt"
    path.write_bytes(data)
    (symbols, malformed), _ = outcome(lambda: read_dictionary(path), (), "")
    assert all(symbol and count >= 0 for symbol, count in symbols.items())
    assert all(line >= 0 for line in malformed)


@given(table=spoiled(TABLE, NASTY), phones=spoiled(PHONES, NASTY))
@cases(150)
def test_tables_are_read_or_refused_by_name(tmp_path_factory, table, phones):
    folder = tmp_path_factory.getbasetemp() / "tables"
    folder.mkdir(exist_ok=True)
    (folder / "metadata.tsv").write_bytes(table)
    (folder / "phones.tsv").write_bytes(phones)
    corpus, _ = outcome(
        lambda: read_table(folder, Search()), (PrepareError, TextError), str(folder)
    )
    if corpus is None:
        return
    assert all(item.utt and item.path for item in corpus.utterances)
    for segments in corpus.phones.values():
        assert all(math.isfinite(s.start) and math.isfinite(s.end) and s.label for s in segments)
        labels, _ = outcome(lambda s=segments: frame_labels(s, 16000, 16000), (), "")
        assert len(labels) == STANDARD_GRID.num_frames(16000)
        assert set(labels) <= {UNLABELED, *(segment.label for segment in segments)}


@given(data=spoiled(b"u1 train\na/b.wav valid\nu3\ttest\n", NASTY))
@cases(100)
def test_a_split_list_is_read_or_refused_by_name(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "splits.txt"
    path.write_bytes(data)
    splits, _ = outcome(lambda: read_split_list(path), (PrepareError, TextError), str(path))
    for split in (splits or {}).values():
        assert "/" not in split and "\0" not in split and split not in (".", "..")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "b").mkdir()
    for name in ("a.wav", "b/c.wav", "../outside.wav"):
        soundfile.write(folder / name, np.zeros(9600, np.float32), 16000)
    return folder


@given(table=st.one_of(spoiled(TABLE, NASTY), spoiled(STRETCHES, NASTY)))
@example(TABLE.replace(b"b/c.wav", b"../outside.wav"))
@example(TABLE.replace(b"valid", b"9" * 5000))
@cases(60)
def test_prepare_writes_what_fits_together_or_says_why_not(source, tmp_path_factory, table):
    (source / "metadata.tsv").write_bytes(table)
    dest = tmp_path_factory.getbasetemp() / "prepared"
    for path in dest.glob("*"):
        path.unlink()
    options = PrepareOptions(source, dest, valid_percent=0.0)
    done, _ = outcome(lambda: prepare(options), (ValueError, OSError), "")
    if done is None:
        return
    for manifest in dest.glob("*.tsv"):
        rows = manifest.read_bytes().split(b"\n")[1:-1]
        assert all(row.count(b"\t") == 1 and b"outside" not in row for row in rows)
        for labels in dest.glob(f"{manifest.stem}.*"):
            if labels != manifest:
                assert lines_of(labels.read_bytes()) == len(rows), labels
