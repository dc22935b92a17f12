"""examples/release: from a prepared folder to a release that `mgf models` lists, at toy size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.checkpoints.reading import read_checkpoint
from mgf_fairseq.cli import main
from mgf_fairseq.releases.card import CARD, ReleaseError, parse_card
from mgf_fairseq.releases.make import Parts, make_release

ROOT = Path(__file__).parents[2]
CORPUS = "Noise, CC0"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared folder of 3 voices with 6 recordings of 1 s each."""
    monkeypatch.chdir(tmp_path)
    for number in range(18):
        path = Path("noise") / "abc"[number % 3] / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(number).normal(size=16000), 16000)
    words = ["--speaker-level", "1", "--labels", "spk", "--valid-percent", "0.2"]
    assert main(["prepare", "noise", "--dest", "data", *words, "--test-percent", "0.2"]) == 0
    return Path("data")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make.sh with this Python's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(ROOT / "examples/release/make.sh"), *words]
    return subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_toy_run_gives_a_release_with_scores_exports_and_checksums(data: Path) -> None:
    words = ["--name", "toy", "--title", "A toy", "--license", "CC0 1.0", "--data", str(data)]
    words += ["--corpus", CORPUS, "--eval", str(data), "--tasks", "speaker", "--updates", "3"]
    words += ["--evaluate", "--seeds 1 --device cpu --layers last", "--formats", "fairseq"]
    done = make(*words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "runs/releases/toy: complete, all 5 checksums are right" in done.stdout
    folder = Path("runs/releases/toy")
    card = parse_card((folder / CARD).read_bytes(), CARD)
    assert card.updates == 3 and card.data == [CORPUS] and 0.002 < card.data_hours < 0.005
    (score,) = card.scores
    assert score.task.startswith("speaker") and score.command.startswith("mgf evaluate")
    page = (folder / "README.md").read_text()
    assert "license: cc0-1.0" in page and "mgf pretrain data --size mini --updates 3" in page
    assert "last_optimizer_state" not in read_checkpoint(folder / "checkpoint_last.pt")


def test_what_make_lacks_is_one_line_before_anything_runs(data: Path) -> None:
    whole = ["--name", "toy", "--title", "A toy", "--license", "CC0 1.0"]
    for words, message in (
        (whole[2:], "release: --name is missing"),
        (whole, "release: --data is missing"),
        ([*whole, "--data", "data"], "1 times --data and 0 times --corpus"),
        ([*whole, "--data", "data", "--corpus", CORPUS], "--eval or --results is missing"),
        ([*whole, "--sizes", "mini"], "no option --sizes"),
    ):
        done = make(*words)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert not Path("runs").exists()


def test_results_of_another_checkpoint_are_refused_and_nothing_is_written(data: Path) -> None:
    mgf_checkpoint(Path("one.pt"))
    mgf_checkpoint(Path("other.pt"), seed=2)
    words = ["evaluate", "--checkpoint", "other.pt", "--name", "x", "--data", str(data)]
    words += ["--tasks", "speaker", "--seeds", "1", "--layers", "last", "--dest", "results"]
    assert main(words) == 0
    parts = Parts(
        name="toy",
        title="A toy",
        license="CC0 1.0",
        corpora=[CORPUS],
        manifests=[data / "train.tsv"],
        checkpoint=Path("one.pt"),
        results=Path("results/x"),
        exports={},
        commands=[],
    )
    with pytest.raises(ReleaseError, match=r"of another checkpoint than one\.pt"):
        make_release(parts, Path("releases"))
    assert not Path("releases").exists()
