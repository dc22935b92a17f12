"""Files within archives, read as if they lay there alone."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
import soundfile
from tones import read, tones

from mgf_fairseq.data.audio import AudioError, audio_info


@pytest.fixture
def archived(tmp_path):
    """`archived(path, kind)`: the entry of a file packed, behind another, into a zip or tar."""

    def pack(path, kind, compression=zipfile.ZIP_STORED):
        archive_path = tmp_path / f"packed.{kind}"
        (tmp_path / "first").write_bytes(b"x" * 100)
        if kind == "zip":
            with zipfile.ZipFile(archive_path, "w", compression) as archive:
                archive.write(tmp_path / "first", "first")
                archive.write(path, path.name)
                info = archive.getinfo(path.name)
            return f"{archive_path}:{info.header_offset + 30 + len(path.name)}:{info.file_size}"
        with tarfile.open(archive_path, "w") as archive:
            archive.add(tmp_path / "first", "first")
            archive.add(path, path.name)
        with tarfile.open(archive_path) as archive:
            member = archive.getmember(path.name)
        return f"{archive_path}:{member.offset_data}:{member.size}"

    return pack


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_a_file_stored_in_an_archive_is_read_as_if_it_lay_there_alone(
    tmp_path, archived, kind, extension
):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, tones(20000, 16000), 16000)
    entry = archived(path, kind)
    np.testing.assert_array_equal(read(entry), read(path))
    np.testing.assert_array_equal(read(entry, start=15000, num_samples=99), read(path)[15000:15099])
    # A segment of a stored file: both pairs of numbers.
    segment = f"{entry}:4000:2000"
    assert audio_info(segment) == (2000, 16000, 1)
    np.testing.assert_array_equal(read(segment, start=7), read(path)[4007:6000])
    with pytest.raises(AudioError, match="ends after the file's 20000"):
        read(f"{entry}:19000:2000")


def test_only_the_crop_of_a_stored_file_is_read(tmp_path, archived, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(10**6), 16000)
    entry = archived(tmp_path / "a.wav", "zip")
    counts = []

    class Counted(io.FileIO):
        def readinto(self, buffer):
            count = super().readinto(buffer)
            counts.append(count)
            return count

    monkeypatch.setattr(io, "FileIO", Counted)
    assert len(read(entry, start=500000, num_samples=8000)) == 8000
    # 16 kB of samples and the header, in blocks of 32 kB; the file has 2 MB.
    assert 16000 < sum(counts) < 300_000


def test_bytes_that_are_not_a_stored_file_are_refused(tmp_path, archived):
    soundfile.write(tmp_path / "a.wav", tones(1000, 16000), 16000)
    path, offset, length = archived(tmp_path / "a.wav", "zip").rsplit(":", 2)
    with pytest.raises(AudioError, match="not an audio file"):
        read(f"{path}:{int(offset) - 5}:{length}")
    with pytest.raises(AudioError, match=r"archive ends at byte.*mgf shard"):
        read(f"{path}:{offset}:{10**6}")
    with pytest.raises(AudioError, match="no such file"):
        read(f"{tmp_path}/gone.zip:{offset}:{length}")
    entry = archived(tmp_path / "a.wav", "zip", zipfile.ZIP_DEFLATED)
    with pytest.raises(AudioError, match=r"stored, not compressed"):
        read(entry)
