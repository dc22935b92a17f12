"""`mgf prepare --convert`: all as 16 kHz mono FLAC, counted exactly, in step with labels."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests, exit_code, find_manifests
from mgf_fairseq.cli import main
from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.prepare import convert


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Recordings of several rates and formats with transcripts; one of them cannot be decoded."""
    folder = tmp_path / "audio"
    (folder / "s\u2028x").mkdir(parents=True)
    for number, (ending, rate, subtype) in enumerate(
        [
            ("wav", 8000, "GSM610"),
            ("mp3", 44100, None),
            ("flac", 48000, "PCM_24"),
            ("ogg", 16000, None),
        ]
    ):
        stereo = np.stack([tiny.speech_like(1.0 + 0.1 * number, number, rate)] * 2, 1)
        waveform = stereo[:, 0] if ending == "wav" else stereo
        soundfile.write(folder / "s\u2028x" / f"{number}.{ending}", waveform, rate, subtype=subtype)
        (folder / "s\u2028x" / f"{number}.txt").write_text(f"WORD {'ABCD'[number]}\n")
    soundfile.write(folder / "s\u2028x" / "0.flac", tiny.speech_like(1.0, 9), 16000)  # as 0.wav
    data = bytearray((folder / "s\u2028x" / "2.flac").read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (folder / "bad.flac").write_bytes(data)
    (folder / "bad.txt").write_text("NEVER\n")
    return folder


def prepare(audio: Path, dest: Path, *more: str) -> int:
    return main(
        ["prepare", str(audio), "--dest", str(dest), "--valid-percent", "0", "--convert", *more]
    )


def test_all_become_16_khz_mono_flac_that_stock_fairseq_reads(audio, tmp_path, capsys):
    from fairseq.data import FileAudioDataset

    assert prepare(audio, tmp_path / "d") == 0
    assert "5 files of 16000 Hz, mono" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "d" / "train.tsv")
    assert len(manifest) == 5 and len(set(manifest.paths)) == 5
    labels = (tmp_path / "d" / "train.wrd").read_bytes().decode().split("\n")[:-1]
    assert len(labels) == 5 and "NEVER" not in labels
    assert sorted(labels) == ["WORD A", "WORD A", "WORD B", "WORD C", "WORD D"]
    assert "bad.flac" in (tmp_path / "d" / "skipped.txt").read_bytes().decode()
    for row in range(5):
        found = soundfile.info(manifest.entry(row))
        assert (found.format, found.samplerate, found.channels) == ("FLAC", 16000, 1)
        assert found.frames == manifest.num_samples[row]
    stock = FileAudioDataset(str(tmp_path / "d" / "train.tsv"), sample_rate=16000)
    assert [len(stock[row]["source"]) for row in range(5)] == manifest.num_samples.tolist()
    reports = check_manifests(find_manifests(tmp_path / "d"), Options())
    assert exit_code(reports) == 0
    assert {finding.rule for finding in reports[0].findings} <= {"clipped"}  # GSM of speech


def test_a_converted_file_is_what_training_would_have_read(audio, tmp_path):
    assert prepare(audio, tmp_path / "d") == 0
    with AudioReader(str(audio / "s\u2028x" / "2.flac"), 16000) as reader:
        expected = reader.read()
    found, _ = soundfile.read(tmp_path / "d" / "converted" / "s\u2028x" / "2.flac", dtype="float32")
    np.testing.assert_allclose(found, expected, atol=2**-23)  # half a step of 24 bits


def test_the_same_command_again_resumes_and_a_changed_file_is_converted_again(
    audio, tmp_path, monkeypatch, capsys
):
    written = []
    write = convert._write_flac

    def failing(reader, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        write(reader, path)
        written.append(path)

    monkeypatch.setattr(convert, "_write_flac", failing)
    assert prepare(audio, tmp_path / "d", "--workers", "1") != 0
    assert not list((tmp_path / "d").glob("*.tsv"))
    monkeypatch.setattr(convert, "_write_flac", write)
    assert prepare(audio, tmp_path / "d") == 0
    assert "2 of them from an earlier run" in capsys.readouterr().out
    first = {path: path.read_bytes() for path in (tmp_path / "d").glob("*.*")}
    soundfile.write(audio / "s\u2028x" / "3.ogg", tiny.speech_like(1.3, 7), 16000)
    os.utime(audio / "s\u2028x" / "3.ogg", (2e9, 2e9))
    assert prepare(audio, tmp_path / "d") == 0
    assert "4 of them from an earlier run" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "d").glob("*.*")} == first


def test_segments_become_files_of_their_own(audio, tmp_path):
    assert prepare(audio, tmp_path / "d", "--segment-seconds", "0.6") == 0
    manifest = read_manifest(tmp_path / "d" / "train.tsv")
    assert len(set(manifest.paths)) == len(manifest) >= 10
    assert not any(":" in path for path in manifest.paths)
    with soundfile.SoundFile(manifest.entry(0)) as file:
        assert file.frames == manifest.num_samples[0]


def test_files_are_not_converted_into_the_folder_of_the_recordings(audio, capsys):
    assert prepare(audio, audio / "d") == 2
    assert "choose a --dest outside" in capsys.readouterr().err
