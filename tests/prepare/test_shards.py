"""mgf shard: the same audio from few archives, for us and for stock fairseq; also if cut off."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests, exit_code, find_manifests
from mgf_fairseq.cli import main
from mgf_fairseq.data.audio import AudioError, AudioReader
from mgf_fairseq.data.crops import Crops
from mgf_fairseq.data.dataset import MgfDataset
from mgf_fairseq.data.manifest import read_manifest, write_manifest
from mgf_fairseq.prepare import packing, shards
from mgf_fairseq.prepare.packing import ShardError
from mgf_fairseq.prepare.shards import ShardOptions, shard
from mgf_fairseq.utils.atomic import ForeignFileError


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Manifests of 6 and 2 files of several formats, one cut into segments, with labels."""
    audio, data = tmp_path / "audio", tmp_path / "data"
    (audio / "ü").mkdir(parents=True)
    rows = []
    for number, ending in enumerate(["wav", "flac", "ogg", "wav", "flac", "wav", "wav", "ogg"]):
        name = f"ü/{number}.{ending}"
        waveform = tiny.speech_like(0.8 + 0.1 * number, number)
        soundfile.write(audio / name, waveform, 16000)
        os.utime(audio / name, (1.7e9 + number, 1.7e9 + number))  # odd seconds, too
        rows.append((name, len(waveform)))
    segments = [("ü/5.wav:0:9600", 9600), ("ü/5.wav:10000:9000", 9000)]
    write_manifest(data / "train.tsv", audio, [*rows[:5], *segments])
    write_manifest(data / "valid.tsv", audio, rows[6:])
    (data / "train.ltr").write_text("A |\n" * 7)
    (data / "dict.ltr.txt").write_text("A 7\n| 7\n")
    return data


def views(data: Path, split: str = "train") -> list[torch.Tensor]:
    items = MgfDataset(
        read_manifest(data / f"{split}.tsv"),
        Crops(views=2, max_samples=6000, min_samples=4000),
        sample_rate=16000,
        normalize=False,
        shuffle=True,
        seed=1,
        num_buckets=4,
    )
    found = [items[index]["views"] for index in range(len(items))]
    assert all(len(views) == 2 for views in found)
    return [view for views in found for view in views]


def test_training_reads_the_same_crops_from_the_archives(prepared, tmp_path):
    summary = shard(ShardOptions(prepared, tmp_path / "packed", shard_bytes=60_000))
    assert summary.files == 8 and summary.shards > 2
    assert sorted(path.name for path in (tmp_path / "packed").glob("*.zip")) == [
        f"shard-{number:05d}.zip" for number in range(summary.shards)
    ]
    for split in ("train", "valid"):
        plain, packed = views(prepared, split), views(tmp_path / "packed", split)
        assert all(torch.equal(a, b) for a, b in zip(plain, packed, strict=True))


def test_a_recording_is_stored_once_for_all_its_segments(prepared, tmp_path):
    shard(ShardOptions(prepared, tmp_path / "packed"))
    (archive,) = (tmp_path / "packed").glob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None  # every checksum
        assert opened.namelist().count("ü/5.wav") == 1
        assert len(opened.namelist()) == 8
    first, second = read_manifest(tmp_path / "packed" / "train.tsv").paths[5:7]
    assert first.endswith(":0:9600") and second.endswith(":10000:9000")
    assert first.rsplit(":", 2)[0] == second.rsplit(":", 2)[0]


def test_stock_fairseq_reads_the_packed_files(prepared, tmp_path):
    from fairseq.data import FileAudioDataset

    shard(ShardOptions(prepared, tmp_path / "packed", shard_bytes=60_000))
    stock = FileAudioDataset(str(tmp_path / "packed" / "valid.tsv"), sample_rate=16000)
    for row, entry in enumerate(("6.wav", "7.ogg")):
        expected, _ = soundfile.read(tmp_path / "audio" / "ü" / entry, dtype="float32")
        np.testing.assert_array_equal(stock[row]["source"].numpy(), expected)


def test_segments_can_be_cut_into_files_that_stock_fairseq_reads(prepared, tmp_path):
    from fairseq.data import FileAudioDataset

    summary = shard(ShardOptions(prepared, tmp_path / "cut", cut=True))
    assert summary.files == 9  # the recording became its two segments
    plain, cut = views(prepared), views(tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(plain, cut, strict=True))
    whole, _ = soundfile.read(tmp_path / "audio" / "ü" / "5.wav", dtype="float32")
    stock = FileAudioDataset(str(tmp_path / "cut" / "train.tsv"), sample_rate=16000)
    np.testing.assert_array_equal(stock[5]["source"].numpy(), whole[:9600])
    np.testing.assert_array_equal(stock[6]["source"].numpy(), whole[10000:19000])
    assert shard(ShardOptions(prepared, tmp_path / "cut", cut=True)).kept == summary.shards == 1


@pytest.mark.parametrize(("subtype", "step"), [("FLOAT", 2**-23), ("PCM_U8", 0)])
def test_a_cut_keeps_the_rate_and_24_bits_of_what_has_more_than_16(tmp_path, subtype, step):
    waveform = tiny.speech_like(1.0, 1)
    waveform[:2] = 1.0, -1.0  # full scale
    soundfile.write(tmp_path / "a.wav", np.stack([waveform] * 2, 1), 44100, subtype=subtype)
    write_manifest(tmp_path / "data" / "train.tsv", tmp_path, [("a.wav:0:8000", 2902)])
    shard(ShardOptions(tmp_path / "data", tmp_path / "cut", cut=True))
    before, after = (read_manifest(tmp_path / n / "train.tsv").entry(0) for n in ("data", "cut"))
    with AudioReader(before, 0) as left, AudioReader(after, 0) as right:
        assert (right.native_sample_rate, right.channels) == (44100, 1)
        # Half a step of rounding, and full scale, which is one step beyond the largest number.
        np.testing.assert_allclose(right.read(), left.read(), atol=step)


def test_a_recording_that_cannot_be_cut_is_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    write_manifest(tmp_path / "data" / "train.tsv", tmp_path, [("a.wav:0:8000", 8000)])
    with pytest.raises(AudioError, match=r"a\.wav:0:8000: not an audio file"):
        shard(ShardOptions(tmp_path / "data", tmp_path / "cut", cut=True))
    assert not (tmp_path / "cut").exists()


def test_check_finds_nothing_wrong_and_labels_come_along(prepared, tmp_path):
    summary = shard(ShardOptions(prepared, tmp_path / "packed"))
    assert summary.copied == ["dict.ltr.txt", "train.ltr"]
    reports = check_manifests(find_manifests(tmp_path / "packed"), Options())
    assert exit_code(reports) == 0
    assert sum(report.lines for report in reports) == 9


def test_what_shard_did_not_write_is_not_replaced(prepared, tmp_path):
    for name, content in (("train.tsv", "path\tsentence\n"), ("train.ltr", "mine\n")):
        dest = tmp_path / f"for {name}"
        dest.mkdir()
        (dest / name).write_text(content)
        with pytest.raises(ForeignFileError, match=name):
            shard(ShardOptions(prepared, dest))
        assert contents(dest) == {name: content.encode()}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; manifests name it, so the record's digests of them differ."""
    name = bytes(folder)
    files = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return {path.name: path.read_bytes().replace(name, b"") for path in files}


def test_a_run_that_was_cut_off_resumes_and_ends_the_same(prepared, tmp_path, monkeypatch):
    options = ShardOptions(prepared, tmp_path / "packed", shard_bytes=60_000)
    shard(ShardOptions(prepared, tmp_path / "whole", shard_bytes=60_000))
    store, stored = packing._store, []

    def failing(archive, item):
        if len(stored) == 4:
            raise KeyboardInterrupt
        stored.append(item)
        store(archive, item)

    monkeypatch.setattr(packing, "_store", failing)
    with pytest.raises(KeyboardInterrupt):
        shard(options)
    names = os.listdir(tmp_path / "packed")
    assert "shard-00000.zip" in names and all(name.endswith(".zip") for name in names)
    monkeypatch.setattr(packing, "_store", store)
    # A shard that was cut short by other means is written again.
    second = (tmp_path / "whole" / "shard-00001.zip").read_bytes()
    (tmp_path / "packed" / "shard-00001.zip").write_bytes(second[:-30])
    assert shard(options).kept == 1
    assert contents(tmp_path / "packed") == contents(tmp_path / "whole")
    assert shard(options).kept == shard(options).shards


def test_other_shards_are_pointed_out_and_never_read_through_old_manifests(
    prepared, tmp_path, monkeypatch
):
    first = shard(ShardOptions(prepared, tmp_path / "packed", shard_bytes=40_000))
    monkeypatch.setattr(
        shards, "_write_shards", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        shard(ShardOptions(prepared, tmp_path / "packed"))
    assert not list((tmp_path / "packed").glob("*.tsv"))
    monkeypatch.undo()
    summary = shard(ShardOptions(prepared, tmp_path / "packed"))
    assert summary.shards == 1 < first.shards
    assert "shard-00001.zip" in summary.notes[0] and "remove" in summary.notes[0]


def test_a_changed_file_is_packed_anew(prepared, tmp_path):
    shard(ShardOptions(prepared, tmp_path / "packed"))
    before = views(tmp_path / "packed", "valid")
    path = tmp_path / "audio" / "ü" / "6.wav"
    waveform, _ = soundfile.read(path)
    soundfile.write(path, waveform[::-1], 16000)  # of the same size
    os.utime(path, (1e9, 1e9))
    assert shard(ShardOptions(prepared, tmp_path / "packed")).kept == 0
    assert not torch.equal(before[0], views(tmp_path / "packed", "valid")[0])


def test_missing_files_a_full_disk_and_packed_folders_are_refused(prepared, tmp_path, monkeypatch):
    options = ShardOptions(prepared, tmp_path / "packed")
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda _: type("U", (), {"free": 1000}))
    with pytest.raises(ShardError, match=r"0\.00 GB free"):
        shard(options)
    monkeypatch.undo()
    shard(options)
    with pytest.raises(ShardError, match=r"train.tsv line 2 .* in an archive already"):
        shard(ShardOptions(tmp_path / "packed", tmp_path / "again"))
    (tmp_path / "audio" / "ü" / "3.wav").unlink()
    with pytest.raises(ShardError, match=r"1 of 8 files cannot be found.*3\.wav.*mgf check"):
        shard(options)
    with pytest.raises(ShardError, match="another --dest"):
        ShardOptions(prepared, prepared)
    with pytest.raises(ShardError, match=r"no \.tsv manifest"):
        shard(ShardOptions(tmp_path / "audio", tmp_path / "o"))


def test_the_verb_packs_and_names_the_next_step(prepared, tmp_path, capsys):
    command = ["shard", str(prepared), "--dest", str(tmp_path / "packed"), "--shard-size"]
    assert main([*command, "60k"]) == 0
    printed = capsys.readouterr().out
    assert "8 files" in printed and f"mgf check {tmp_path / 'packed'}" in printed
    assert len(list((tmp_path / "packed").glob("*.zip"))) > 2
    for size in ("0", "ten", "1X"):
        assert main([*command, size]) == 2
        assert "error" in capsys.readouterr().err


def test_files_that_would_share_a_name_in_the_archive_are_stored_apart(tmp_path):
    # 2/a.wav is what the third would be called, to keep it apart from the first.
    for number, name in enumerate(["x/a.wav", "x/2/a.wav", "y/a.wav"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, tiny.speech_like(0.5, number), 16000, subtype="FLOAT")
    rows = [("a.wav", 8000), ("2/a.wav", 8000)]
    write_manifest(tmp_path / "data" / "a.tsv", tmp_path / "x", rows)
    write_manifest(tmp_path / "data" / "b.tsv", tmp_path / "y", rows[:1])
    shard(ShardOptions(tmp_path / "data", tmp_path / "packed"))
    with zipfile.ZipFile(tmp_path / "packed" / "shard-00000.zip") as archive:
        assert len(set(archive.namelist())) == 3
    with AudioReader(read_manifest(tmp_path / "packed" / "b.tsv").entry(0), 0) as reader:
        np.testing.assert_array_equal(reader.read(), tiny.speech_like(0.5, 2))
