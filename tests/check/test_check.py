"""Planted defects are each found and named by `mgf check`, and sound data passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from mgf_fairseq.check.audio import Options
from mgf_fairseq.check.labels import ctc_frames_needed
from mgf_fairseq.check.manifests import check_manifests, exit_code, find_manifests
from mgf_fairseq.cli import main
from mgf_fairseq.data import limits
from mgf_fairseq.data.audio import AudioError, audio_info
from mgf_fairseq.data.entries import ManifestError


def _noise(seed: int, num_samples: int = 16000) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, num_samples).astype(np.float32)


def _write(folder: Path, split: str, rows: list[tuple[str, int]], letters: list[str]) -> Path:
    lines = [str(folder), *(f"{name}\t{count}" for name, count in rows)]
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}.tsv"
    path.write_text("\n".join(lines) + "\n")
    (folder / f"{split}.ltr").write_text("".join(f"{row}\n" for row in letters))
    (folder / "dict.ltr.txt").write_text("| 9\nA 5\nB 5\n")
    return path


def _rules(path: Path, **options: float) -> dict[str, str]:
    reports = check_manifests(find_manifests(path), Options(**options))  # type: ignore[arg-type]
    return {f.rule: f.severity for report in reports for f in report.findings}


def _single(folder: Path, audio: np.ndarray, rate: int = 16000, count: int | None = None) -> Path:
    soundfile.write(folder / "a.wav", audio, rate)
    return _write(folder, "train", [("a.wav", count or len(audio))], ["A B |"])


def test_sound_data_passes(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    reports = check_manifests([path], Options())
    assert not reports[0].findings and exit_code(reports) == 0
    assert reports[0].kept_hours == pytest.approx(1 / 3600)


PLANTED = {
    "too short": (lambda: _noise(0, 300), 16000, None, "error"),
    "count differs": (lambda: _noise(0), 16000, 15000, "error"),
    "silent": (lambda: np.zeros(16000, np.float32), 16000, None, "error"),
    "clipped": (lambda: np.clip(_noise(0) * 10, -1, 1), 16000, None, "note"),
    "rate": (lambda: _noise(0, 8000), 8000, 16000, "note"),
    "channels": (lambda: np.stack([_noise(0), _noise(1)], 1), 16000, None, "note"),
}


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
    recipes = pretrain_configs.parents[1]
    for path in (pretrain_configs / "data").glob("*.yaml"):
        found = OmegaConf.load(path).task.min_sample_size
        assert found == limits.PRETRAINING_MIN_SAMPLES == Options().min_sample_size, path.name
    finetuning = OmegaConf.load(recipes / "finetune" / "config" / "base" / "run.yaml")
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


LABELS = {
    "label count (train.ltr)": "A |\nB |\n",
    "label empty (train.ltr)": "\n",
    "UNK only (train.ltr)": "x y z\n",
    "unknown symbols (train.ltr)": "A x |\n",
    "CTC infeasible (train.ltr)": "A A " * 20 + "\n",
}


@pytest.mark.parametrize("rule", LABELS)
def test_a_planted_label_defect_is_an_error(tmp_path: Path, rule: str) -> None:
    path = _single(tmp_path, _noise(0))
    (tmp_path / "train.ltr").write_text(LABELS[rule])
    assert _rules(path).get(rule) == "error"


def test_words_that_only_a_held_out_split_has_are_a_note(tmp_path: Path) -> None:
    _single(tmp_path, _noise(0))
    (tmp_path / "dict.wrd.txt").write_text("ONE 1\n")
    held_out = _write(tmp_path, "test", [("a.wav", 16000)], ["A B |"])
    (tmp_path / "test.wrd").write_text("ONE NEW\n")
    assert _rules(held_out)["unknown symbols (test.wrd)"] == "note"


def test_an_empty_dictionary_is_an_error(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    (tmp_path / "dict.ltr.txt").write_text("")
    assert _rules(path)["dictionary empty (dict.ltr.txt)"] == "error"


def test_repeats_need_a_blank_between_them() -> None:
    assert ctc_frames_needed(list("AABBB")) == 8


def test_what_cannot_be_checked_is_said_with_exit_code_2(tmp_path: Path) -> None:
    path = _single(tmp_path, _noise(0))
    path.write_text("/nowhere/at/all\na.wav\t16000\n")
    reports = check_manifests([path], Options(fast=True))
    assert exit_code(reports) == 2 and "/nowhere/at/all" in reports[0].findings[0].fix
    path.write_text("")
    assert exit_code(check_manifests([path], Options())) == 2
    with pytest.raises(ManifestError, match="no such file"):
        find_manifests(tmp_path / "absent")
