"""Planted defects are each found and named by `mgf check`, and sound data passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from defects import _noise, _rules, _single, _write
from omegaconf import OmegaConf

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.manifests import check_manifests, exit_code, find_manifests
from mgf_fairseq.cli import main
from mgf_fairseq.data import limits
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.utils.package import config_dir


def test_sound_data_passes(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    reports = check_manifests([path], Options())
    assert not reports[0].findings and exit_code(reports) == 0
    assert reports[0].kept_hours == pytest.approx(1 / 3600)


def test_what_pretraining_would_skip_is_counted_with_its_key(tmp_path: Path) -> None:
    for number in range(40):
        seconds = 0.3 if number < 10 else 0.2
        soundfile.write(tmp_path / f"{number}.wav", _noise(number, round(seconds * 16000)), 16000)
    rows = [(f"{number}.wav", 4800 if number < 10 else 3200) for number in range(40)]
    path = _write(tmp_path, "train", rows, ["A B |"] * 40)
    report = check_manifests([path], Options())[0]
    (finding,) = report.findings
    assert finding.rule == "below task.min_sample_size" and finding.severity == "error"
    assert finding.count == 30 and "here 4000" in finding.fix
    assert report.kept_hours == pytest.approx(10 * 0.3 / 3600)
    assert not check_manifests([path], Options(min_sample_size=3200))[0].findings
    # A few are no error: 1 of 40 is less than 5 %.
    _write(tmp_path, "train", [*rows[:10] * 4, rows[-1]], ["A B |"] * 41)
    assert _rules(path)["below task.min_sample_size"] == "note"


def test_the_limits_of_check_are_those_of_the_recipes(pretrain_configs: Path) -> None:
    for path in (pretrain_configs / "data").glob("*.yaml"):
        found = OmegaConf.load(path).task.min_sample_size
        assert found == limits.PRETRAINING_MIN_SAMPLES == Options().min_sample_size, path.name
    finetuning = OmegaConf.load(config_dir("finetune") / "base" / "run.yaml")
    assert finetuning.dataset.max_tokens == limits.FINETUNING_MAX_TOKENS == Options().max_tokens
    assert finetuning.task.min_sample_size == 400 == round(Options().min_seconds * 16000)


def test_an_utterance_above_max_tokens_is_noted_for_finetuning_stops_at_it(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    assert _rules(path, max_tokens=15999) == {"above dataset.max_tokens": "note"}


def test_the_rate_of_a_manifest_is_found(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = _single(tmp_path, _noise(0, 80000), 8000)
    assert main(["check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "limits at 8000 Hz" in shown and "task.min_sample_size=4000 (0.50 s)" in shown
    assert f"{10 / 3600:.3f}" in shown.splitlines()[1]


def test_a_line_that_leaves_the_root_is_dropped_and_not_read_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "data", "train", [("../a.wav", 16000), ("b.wav", 16000)], ["A B |"] * 2)
    for name in ("a.wav", "data/b.wav"):
        soundfile.write(tmp_path / name, _noise(len(name)), 16000)
    monkeypatch.chdir(tmp_path / "data")  # from where ../a.wav is there
    report = check_manifests(find_manifests(tmp_path / "data"), Options())[0]
    (finding,) = [f for f in report.findings if f.rule == "unreadable"]
    assert finding.count == 1 and "leaves the root" in finding.examples[0]
    assert report.kept_hours == pytest.approx(report.hours / 2)


def test_the_same_audio_in_two_splits_is_leakage_but_a_subset_is_not(tmp_path: Path) -> None:
    _single(tmp_path, _noise(0))
    soundfile.write(tmp_path / "b.flac", soundfile.read(tmp_path / "a.wav")[0], 16000)
    _write(tmp_path, "train_10min", [("a.wav", 16000)], ["A B |"])
    assert "duplicate across splits" not in _rules(tmp_path)
    _write(tmp_path, "valid", [("b.flac", 16000)], ["A B |"])
    assert _rules(tmp_path)["duplicate across splits"] == "error"


def test_what_cannot_be_checked_is_said_with_exit_code_2(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    path.write_text("/nowhere/at/all\na.wav\t16000\n")
    reports = check_manifests([path], Options(fast=True))
    assert exit_code(reports) == 2 and "/nowhere/at/all" in reports[0].findings[0].fix
    path.write_text("")
    assert exit_code(check_manifests([path], Options())) == 2
    with pytest.raises(ManifestError, match="no such file"):
        find_manifests(tmp_path / "absent")
