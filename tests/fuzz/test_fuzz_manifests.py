"""Fuzzed manifests and paths: read or refused in clear words, and nothing outside the root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fuzzing import cases, outcome, spoiled
from hypothesis import example, given
from hypothesis import strategies as st

from mgf_fairseq.data.audio import AudioError, AudioReader
from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.entries import Entry, ManifestError, parse_entry
from mgf_fairseq.data.manifest import Manifest, PathTable, read_manifest

VALID = (
    b"/data/audio\na/b.wav\t16000\nc.flac:0:8000\t8000\nall.zip:70:900\t400\n\xc3\xa4.ogg\t1\r\n"
)
NASTY = (
    *(b"\n", b"\r", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"-1", b"1e9", b"9" * 30, b"0x10"),
    *(b"\xe2\x80\xa8", b"\x0b", b"\x85", b":", b":0:0", b":9:9", b"../", b"/", b" ", b"\xd9\xa3"),
)


@given(data=st.one_of(spoiled(VALID, NASTY), st.binary(max_size=60)))
@example(b"/data\nc.flac:0:0:8:0:0:8\t8000\n")
@cases(300)
def test_a_manifest_is_read_whole_or_refused_by_name_and_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.tsv"
    path.write_bytes(data)
    manifest, said = outcome(lambda: read_manifest(path), ManifestError, str(path))
    if said:
        return
    assert len(manifest.paths) == len(manifest.num_samples) == len(manifest) > 0
    assert (manifest.num_samples >= 0).all()
    for row in range(len(manifest)):
        entry, _ = outcome(lambda row=row: manifest.entry(row), ManifestError, "line")
        if entry is not None:
            parsed, _ = outcome(lambda entry=entry: parse_entry(entry), ManifestError, entry)
            assert parsed is None or isinstance(parsed, Entry)
            assert "\0" not in entry


PART = st.sampled_from(["..", ".", "", "a", "link", "deep", "secret.wav", "a.wav", "..a", "a.."])
TAIL = st.sampled_from(["", ":0:100", ":5:10:0:100", "/", "/.."])
HOSTILE = st.tuples(st.booleans(), st.lists(PART, min_size=1, max_size=7), TAIL).map(
    lambda drawn: "/" * drawn[0] + "/".join(drawn[1]) + drawn[2]
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus/ with an audio file and a link to a folder elsewhere; a secret above the root."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "corpus" / "deep").mkdir(parents=True)
    (folder / "else" / "deep").mkdir(parents=True)
    (folder / "corpus" / "link").symlink_to(folder / "else" / "deep", target_is_directory=True)
    tone = 0.1 * np.sin(np.arange(16000) / 9).astype(np.float32)
    for place in ("corpus", "corpus/deep", ".", "else", "else/deep"):
        soundfile.write(folder / place / "a.wav", tone, 16000)
    for place in (".", "else"):
        soundfile.write(folder / place / "secret.wav", tone, 16000)
    return folder


@given(path=HOSTILE)
@example("../secret.wav")
@example("link/../secret.wav")
@example("deep/../../secret.wav")
@example("deep/../../corpus/a.wav")
@cases(300)
def test_no_relative_path_leads_out_of_the_root(tree, path):
    root = tree / "corpus"
    manifest = Manifest(root, PathTable.from_strings([path]), np.array([16000]))
    entry, said = outcome(lambda: manifest.entry(0), ManifestError, "line 2")
    if said:
        assert "absolute path" in said and repr(path) in said
        assert not os.path.isabs(path)
        return
    if os.path.isabs(path):
        assert entry == path
        return
    # As the kernel reads it, but for links themselves, which are the file system's word.
    assert ".." not in Path(entry).parts
    assert Path(entry).is_relative_to(root)


@given(path=HOSTILE)
@example("../secret.wav")
@cases(60)
def test_training_reads_nothing_outside_the_root_that_the_manifest_does_not_say(tree, path):
    manifest = Manifest(tree / "corpus", PathTable.from_strings([path]), np.array([16000]))
    crops = Crops(views=2, max_samples=8000, min_samples=400)
    options = {"sample_rate": 16000, "normalize": True, "shuffle": False, "seed": 1}
    dataset = MgfDataset(manifest, crops, num_buckets=0, **options)
    item, _ = outcome(lambda: dataset[0], (), "")
    assert not (item["views"] and "secret" in os.path.normpath(path))


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "a.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
    for entry in (str(path), f"{path}:0:100"):
        _, said = outcome(lambda entry=entry: AudioReader(entry, 16000), AudioError, entry)
        assert said


def test_an_archive_that_is_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    entry = f"{tmp_path}/a.zip:0:100"
    _, said = outcome(lambda: AudioReader(entry, 16000), AudioError, entry)
    assert "not a regular file" in said
