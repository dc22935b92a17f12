"""The digest of a manifest's audio: contents count; known files are not read again."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mgf_fairseq.data import content_digests
from mgf_fairseq.data.manifest import Manifest, read_manifest, write_manifest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    names: list[str] = []
    digest_file = content_digests._digest_file

    def noting(path: str) -> str:
        names.append(Path(path).name)
        return digest_file(path)

    monkeypatch.setattr(content_digests, "_digest_file", noting)
    return names


def key(folder: Path, rows: Sequence[tuple[str, int]], table: str = "table.tsv") -> str:
    write_manifest(folder / "a.tsv", folder, rows)
    manifest = read_manifest(folder / "a.tsv")
    return content_digests.audio_key(manifest, range(len(manifest)), folder / table)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files; the first and last are equal."""
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"three"), ("d", b"one")):
        (tmp_path / f"{name}.wav").write_bytes(content)
    return tmp_path


def test_contents_order_lengths_and_stretches_count_and_names_do_not(folder: Path) -> None:
    assert key(folder, [("a.wav", 5), ("b.wav", 5)]) == key(folder, [("d.wav", 5), ("b.wav", 5)])
    rows = [
        [("a.wav", 5), ("b.wav", 5)],
        [("b.wav", 5), ("a.wav", 5)],
        [("a.wav", 5)],
        [("a.wav", 5), ("b.wav", 6)],
        [("a.wav", 5), ("b.wav:0:5", 5)],
        [("a.wav", 5), ("b.wav:1:5", 5)],
        [("a.wav", 5), ("missing.wav", 5)],
        [("a.wav", 5), ("../outside.wav", 5)],
    ]
    assert len({key(folder, some) for some in rows}) == len(rows)


def test_a_segment_is_of_its_recording_even_beside_a_file_of_its_name(folder: Path) -> None:
    before = key(folder, [("b.wav:0:5", 5)])
    (folder / "b.wav:0:5").write_bytes(b"another")  # audio.py looks for it last
    assert key(folder, [("b.wav:0:5", 5)]) == before
    (folder / "b.wav").unlink()
    assert key(folder, [("b.wav:0:5", 5)]) != before


def test_known_files_are_read_again_only_where_size_or_a_time_has_changed(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_digests, "_SETTLED_NS", 0)  # the files are not two seconds old
    rows = [("a.wav", 5), ("b.wav", 5), ("c.wav", 5)]
    first = key(folder, rows)
    assert sorted(read) == ["a.wav", "b.wav", "c.wav"]
    assert key(folder, rows) == first and len(read) == 3
    os.utime(folder / "b.wav")
    assert key(folder, rows) == first and read[3:] == ["b.wav"]
    before = (folder / "c.wav").stat()
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    (folder / "c.wav").write_bytes(b"other")  # of the same size, and the time set back
    os.utime(folder / "c.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert key(folder, rows) != first and read[4:] == ["c.wav"]


def test_a_second_list_of_files_does_not_forget_the_first(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_digests, "_SETTLED_NS", 0)
    key(folder, [("a.wav", 5)])
    key(folder, [("b.wav", 5)])
    key(folder, [("a.wav", 5), ("b.wav", 5)])
    assert read == ["a.wav", "b.wav"]


def test_a_file_written_just_now_is_not_trusted_to_stay(folder: Path, read: list[str]) -> None:
    key(folder, [("a.wav", 5)])
    key(folder, [("a.wav", 5)])
    assert read == ["a.wav", "a.wav"]


def test_a_damaged_table_costs_reading_and_nothing_else(folder: Path) -> None:
    expected = key(folder, [("a.wav", 5)])
    (folder / "damaged.tsv").write_bytes(b"1\t2\n\xff\xfe")
    assert key(folder, [("a.wav", 5)], "damaged.tsv") == expected


def test_a_name_that_breaks_lines_elsewhere_does_not_cost_the_table(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_digests, "_SETTLED_NS", 0)
    (folder / "line\u2028sep\r.wav").write_bytes(b"four")
    (folder / "b\x85.wav").write_bytes(b"five")
    names = ["a.wav", "line\u2028sep\r.wav", "b\x85.wav"]
    manifest = Manifest(folder, names, np.array([5, 5, 5]))
    first = content_digests.audio_key(manifest, range(3), folder / "table.tsv")
    assert (
        content_digests.audio_key(manifest, range(3), folder / "table.tsv") == first
        and len(read) == 3
    )
