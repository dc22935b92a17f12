"""The quickstart runs through every step at toy size, and skips finished steps the second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mgf_fairseq.evaluation.result_files import read_results

pytest.importorskip("espeakng_loader", reason="the quickstart's voices come with extra [demo]")
pytest.importorskip("matplotlib", reason="the quickstart's picture is drawn with extra [demo]")

ROOT = Path(__file__).resolve().parents[2]


def quickstart(dest: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "examples/quickstart/quickstart.py", "--dest", str(dest)]
    command += ["--minutes", "6", "--pretrain-updates", "10", "--finetune-updates", "10"]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


@pytest.mark.slow
def test_the_quickstart_runs_and_its_second_run_skips_every_step(tmp_path: Path) -> None:
    first = quickstart(tmp_path / "run")
    for word in ("SI-SDR", "contrastive accuracy", "retrieval accuracy", "chance "):
        assert word in first
    header = next(line for line in first.splitlines()[::-1] if line.startswith("representation"))
    for heading in ("phone acc.", "speaker acc.", "emotion UAR", "WER", "CER"):
        assert heading in header
    results = read_results(tmp_path / "run/results/mgf")
    assert set(results.tasks) == {"phone", "speaker", "emotion"} and results.recognition
    page = (tmp_path / "run/report/index.html").read_text(encoding="utf-8")
    assert "<audio" in page and "settings of rate, pitch and volume" in page
    picture = tmp_path / "run/quickstart.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000  # an empty figure of this size takes about 10 kB
    second = quickstart(tmp_path / "run")
    assert second.count("finished, skipped") == 8
    assert first.split("scale ")[-1].split("all of it")[0] in second
