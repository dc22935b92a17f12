"""Defects of audio: each has its rule and its fix."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
from defects import _noise, _rules, _single, _write

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests
from mgf_fairseq.data.audio import AudioError, AudioReader, audio_info
from mgf_fairseq.data.sample_counts import require_fit

PLANTED = {
    "too short": (lambda: _noise(0, 300), 16000, None, "error"),
    "count differs": (lambda: _noise(0), 16000, 15000, "error"),
    "silent": (lambda: np.zeros(16000, np.float32), 16000, None, "error"),
    "clipped": (lambda: np.clip(_noise(0) * 10, -1, 1), 16000, None, "note"),
    "rate": (lambda: _noise(0, 8000), 8000, 16000, "note"),
    "channels": (lambda: np.stack([_noise(0), _noise(1)], 1), 16000, None, "note"),
}


@pytest.mark.parametrize(("count", "refused"), [(15984, False), (15983, True)])  # of 16000
def test_a_count_is_an_error_where_training_refuses_it_and_a_note_where_it_differs_less(
    tmp_path: Path, count: int, refused: bool
) -> None:
    said = {"count differs": "error"} if refused else {"count differs a little": "note"}
    assert _rules(_single(tmp_path, _noise(0), count=count)) == said
    with AudioReader(str(tmp_path / "a.wav"), 16000) as reader:
        refusal = pytest.raises(AudioError, match=f"says {count} samples, the file has 16000 at")
        with refusal if refused else nullcontext():
            require_fit(reader, count)


def test_what_reads_slowly_or_was_cut_is_named_with_the_fix(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "gsm.wav", _noise(0), 16000, subtype="GSM610")
    soundfile.write(tmp_path / "long.mp3", _noise(1, 70 * 16000), 16000)
    soundfile.write(tmp_path / "pipe.wav", _noise(2), 16000)
    data = bytearray((tmp_path / "pipe.wav").read_bytes())
    data[40:44] = b"\xff\xff\xff\x7f"
    (tmp_path / "pipe.wav").write_bytes(data)
    soundfile.write(tmp_path / "cut.ogg", _noise(3, 480000), 16000)
    data = (tmp_path / "cut.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(data[: len(data) // 2])
    names = ["gsm.wav", "long.mp3", "pipe.wav", "cut.ogg"]
    rows = [(name, audio_info(str(tmp_path / name)).num_samples) for name in names]
    report = check_manifests([_write(tmp_path, "train", rows, ["A B |"] * 4)], Options())[0]
    found = {f.rule: (f.count, f.severity, "--convert" in f.fix) for f in report.findings}
    assert found == {
        "slow format": (2, "note", True),
        "length not in the header": (1, "note", True),
        "cut short": (1, "error", False),
    }


def test_several_recordings_in_one_ogg_file_are_not_taken_for_one(tmp_path: Path) -> None:
    for subtype in ("VORBIS", "OPUS"):
        path = tmp_path / f"{subtype}.ogg"
        soundfile.write(path, _noise(0, 40000), 16000, format="OGG", subtype=subtype)
        assert audio_info(str(path)).num_samples == 40000
        first = path.read_bytes()
        soundfile.write(path, _noise(1, 400000), 16000, format="OGG", subtype=subtype)
        for second in (first, path.read_bytes()):
            path.write_bytes(first + second)
            with pytest.raises(AudioError, match="several recordings"):
                audio_info(str(path))


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_audio_defect_is_named(tmp_path: Path, rule: str) -> None:
    make, rate, count, severity = PLANTED[rule]
    assert _rules(_single(tmp_path, make(), rate, count)).get(rule) == severity


def test_segments_are_noted_for_stock_fairseq_reads_them_wrong(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(0), 16000)
    path = _write(tmp_path, "train", [("a.wav:0:8000", 8000)], ["A B |"])
    assert _rules(path) == {"segment": "note"}
    assert _rules(path, fast=True) == {"segment": "note"}


def test_missing_and_unreadable_files_are_dropped_with_their_hours(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _noise(0), 16000)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:9000])
    (tmp_path / "text.wav").write_text("no audio")
    bad = _noise(1)
    bad[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad, 16000, subtype="FLOAT")
    names = ["a.wav", "cut.wav", "text.wav", "nan.wav", "gone.wav"]
    path = _write(tmp_path, "train", [(name, 16000) for name in names], ["A |"] * 5)
    report = check_manifests([path], Options())[0]
    counts = {finding.rule: finding.count for finding in report.findings}
    assert counts == {"missing": 1, "unreadable": 3}
    assert report.kept_hours == pytest.approx(1 / 3600)
    assert all(finding.fix for finding in report.findings)
