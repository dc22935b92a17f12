"""The quickstart runs through every step at toy size, and skips finished steps the second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mgf_fairseq.data.text import read_lines
from mgf_fairseq.evaluation.result_files import read_results

pytest.importorskip("espeakng_loader", reason="the quickstart's voices come with extra [demo]")
pytest.importorskip("matplotlib", reason="the quickstart's picture is drawn with extra [demo]")

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--minutes", "6", "--commands", "3")  # as little as all tasks can be run on


def quickstart(dest: Path, *arguments: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "examples/quickstart/quickstart.py", "--dest", str(dest)]
    command += ["--pretrain-updates", "10", "--finetune-updates", "10", *arguments]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
def test_the_quickstart_runs_and_its_second_run_skips_every_step(tmp_path: Path) -> None:
    first = quickstart(tmp_path / "run", *SHORT)
    for word in ("SI-SDR", "contrastive accuracy", "retrieval accuracy", "chance "):
        assert word in first
    header = next(line for line in first.splitlines()[::-1] if line.startswith("representation"))
    for heading in ("phone acc.", "speaker acc.", "emotion UAR", "CER", "WER"):
        assert heading in header
    assert header.index("CER") < header.index("WER")
    for name in ("mgf", "random"):
        results = read_results(tmp_path / "run/results" / name)
        assert set(results.tasks) == {"phone", "speaker", "emotion"} and results.recognition
    said = read_lines(tmp_path / "run/data/commands/test.ltr")[0].replace(" ", "")
    assert f"  {said.replace('|', ' ').strip()}\n$ mgf transcribe " in first
    assert first.partition("next:")[2].count("\n  mgf ") == 2 and "--data YOUR_FOLDER" in first
    page = (tmp_path / "run/report/index.html").read_text(encoding="utf-8")
    assert "<audio" in page and "synthetic voices" in page
    picture = tmp_path / "run/quickstart.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000  # an empty figure of this size takes about 10 kB
    second = quickstart(tmp_path / "run", *SHORT)
    assert second.count("finished, skipped") == 10
    assert first.split("scale ")[-1].split("all of it")[0] in second


@pytest.mark.slow
def test_recordings_of_ones_own_are_trained_on_and_what_they_lack_is_skipped_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(30):
        noise = np.random.default_rng(number).normal(0, 0.1, 12_000)
        soundfile.write(tmp_path / "mine" / f"{number}.wav", noise, 8_000)
    shown = quickstart(tmp_path / "run", "--data", str(tmp_path / "mine"))
    assert "mine has no transcripts that mgf prepare could read" in shown
    assert "speaker probe skipped" in shown and "retrieval accuracy" in shown
    assert (tmp_path / "run/quickstart.png").is_file() and "mgf report" not in shown
    assert "mgf extract" in shown.partition("next:")[2]


def test_own_recordings_with_transcripts_and_speakers_are_recognized_and_classified(
    tmp_path: Path,
) -> None:
    import plans

    asked = plans.Settings(tmp_path, 1.0, 1.0, 10, 10, own=tmp_path / "mine")
    asked.data.mkdir()
    for split in ("train", "valid", "test"):
        rows = [f"{number}.flac\t{200_000 if number else 8000}\n" for number in range(20)]
        (asked.data / f"{split}.tsv").write_text(f"{tmp_path}\n{''.join(rows)}")
        (asked.data / f"{split}.ltr").write_text("A B |\n" * 20)
        (asked.data / f"{split}.spk").write_text("ann\nbob\n" * 10)
    pretraining, speakers, asr, *_ = plans.learning(asked)
    assert not any("corpora" in str(word) for word in pretraining.words)
    assert "speaker" in speakers.words and "asr" in asr.words
    assert "dataset.max_tokens=200000" in asr.words  # no utterance is longer than a batch
    (asked.data / "valid.ltr").unlink()
    (asked.data / "train.spk").write_text("ann\n" * 20)
    titles = [step.title for step in plans.learning(asked)]
    assert titles == ["Pre-train MGF", "Draw what was learned"]
