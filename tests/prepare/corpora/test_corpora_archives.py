"""mgf prepare of archives that stay packed: WebDataset tars and stored zips."""

import io
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare.corpora.base import PrepareError, Search
from mgf_fairseq.prepare.corpora.registry import detect_layout
from mgf_fairseq.prepare.options import PrepareOptions
from mgf_fairseq.prepare.prepare import Summary, prepare


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Four waveforms of two speakers, each with a transcript."""
    folder = tmp_path / "files"
    for number in range(4):
        path = folder / f"s{number // 2}" / f"u{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tiny.speech_like(0.5 + number / 10, number), 16000)
        path.with_suffix(".txt").write_text(f"number  {number}\n")
    return folder


def pack(files: Path, target: Path, compression: int = zipfile.ZIP_STORED) -> None:
    target.parent.mkdir(exist_ok=True)
    paths = sorted(path for path in files.rglob("*") if path.is_file())
    if target.suffix == ".tar":
        with tarfile.open(target, "w") as archive:
            for path in paths:
                archive.add(path, path.relative_to(files))
    else:
        with zipfile.ZipFile(target, "w", compression) as opened:
            for path in paths:
                info = zipfile.ZipInfo(str(path.relative_to(files)))
                info.compress_type = compression
                info.extra = struct.pack("<HHI", 0x5455, 4, 0)  # as other programs leave behind
                opened.writestr(info, path.read_bytes())


def run(source: Path, dest: Path, **options: object) -> Summary:
    return prepare(PrepareOptions(source=source, dest=dest, valid_percent=0, **options))


@pytest.mark.parametrize("ending", ["tar", "zip"])
@pytest.mark.parametrize("alone", [False, True])
def test_archives_are_read_where_they_lie_with_speakers_and_transcripts(
    files: Path, tmp_path: Path, ending: str, alone: bool
) -> None:
    archive = tmp_path / "packed" / f"part.{ending}"
    pack(files, archive)
    source = archive if alone else archive.parent
    assert detect_layout(source, Search()) == "archives"
    summary = run(source, tmp_path / "o", search=Search(speaker_level=1))
    assert summary.labels == ["ltr", "wrd", "spk"]
    manifest = read_manifest(tmp_path / "o" / "train.tsv")
    assert manifest.root == Path(os.path.realpath(archive.parent))
    assert all(path.startswith(f"part.{ending}:") for path in manifest.paths)
    assert (tmp_path / "o" / "train.wrd").read_text().split("\n")[3] == "NUMBER 3"
    assert (tmp_path / "o" / "train.spk").read_text() == "s0\ns0\ns1\ns1\n"
    for row, path in enumerate(sorted(files.rglob("*.wav"))):
        expected, _ = soundfile.read(path, dtype="float32")
        assert manifest.num_samples[row] == len(expected)
        with AudioReader(manifest.entry(row), 16000) as reader:
            np.testing.assert_array_equal(reader.read(), expected)


def test_recordings_in_archives_are_cut_into_segments(files: Path, tmp_path: Path) -> None:
    pack(files, tmp_path / "packed" / "part.tar")
    run(tmp_path / "packed", tmp_path / "o", segment_seconds=0.3, labels=())
    manifest = read_manifest(tmp_path / "o" / "train.tsv")
    assert len(manifest) == 2 + 2 + 3 + 3  # 0.5, 0.6, 0.7 and 0.8 s
    assert all(path.count(":") == 4 for path in manifest.paths)
    with AudioReader(manifest.entry(1), 16000) as reader:
        whole, _ = soundfile.read(files / "s0" / "u0.wav", dtype="float32")
        np.testing.assert_array_equal(reader.read(), whole[4000:8000])


def test_compressed_files_are_skipped_by_name_or_refused_where_all_are(
    files: Path, tmp_path: Path
) -> None:
    pack(files, tmp_path / "packed" / "squeezed.zip", zipfile.ZIP_DEFLATED)
    with pytest.raises(PrepareError, match=r"squeezed\.zip/s0/u0\.wav is compressed.*zip -0"):
        run(tmp_path / "packed", tmp_path / "o")
    pack(files, tmp_path / "packed" / "stored.zip")
    summary = run(tmp_path / "packed", tmp_path / "o")
    assert [item.utterances for item in summary.splits] == [4]
    assert {path for path, _ in summary.skipped} == {
        f"squeezed.zip/s{n // 2}/u{n}.wav" for n in range(4)
    }


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    for ending in ("tar", "zip"):
        folder = tmp_path / ending
        folder.mkdir()
        (folder / f"a.{ending}").write_bytes(b"no archive at all" * 100)
        with pytest.raises(PrepareError, match=rf"a\.{ending} cannot be read as an archive"):
            run(folder, tmp_path / "o")


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (6, b"\x63\x00"),  # the version that is needed
        (42, b"\x00\x00\x0f\x00"),  # where the file begins
        (8, b"\x00\x08"),  # its name is UTF-8
    ],
)
def test_a_zip_with_a_spoiled_directory_is_named(tmp_path: Path, place: int, change: bytes) -> None:
    archive = tmp_path / "packed" / "a.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x.wav", b"RIFF" * 100)
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[data.index(b".wav", entry) - 1] = 0xFF
    data[entry + place : entry + place + len(change)] = change
    archive.write_bytes(data)
    with pytest.raises(PrepareError, match=r"a\.zip cannot be read as an archive"):
        run(archive.parent, tmp_path / "o")


def test_a_name_with_a_line_break_stays_on_one_line_of_the_skipped(tmp_path: Path) -> None:
    archive = tmp_path / "packed" / "a.zip"
    archive.parent.mkdir()
    tone = io.BytesIO()
    soundfile.write(tone, tiny.speech_like(0.5, 1), 16000, format="WAV")
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("good.wav", tone.getvalue())
        opened.writestr("b\nad.wav", tone.getvalue(), zipfile.ZIP_DEFLATED)
    run(archive.parent, tmp_path / "o")
    lines = (tmp_path / "o" / "skipped.txt").read_text().splitlines()
    assert len(lines) == 2 and lines[1].startswith(r"'a.zip/b\nad.wav'")
