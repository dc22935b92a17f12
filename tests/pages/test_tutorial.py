"""The tutorial and the pages on classes and scaling show commands that work, here at toy size."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import finetuned, mgf_checkpoint

from mgf_fairseq.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def commands(page: str) -> list[str]:
    """The commands of a page's blocks; blocks of a language, as of text, are others."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (EXAMPLES / page).read_text(), re.S | re.M)
    whole = (block.replace("\\\n", "") for kind, block in blocks if not kind)
    return [line for block in whole for line in block.splitlines() if line]


def cells() -> list[str]:
    """The code cells of the notebook."""
    found = json.loads((EXAMPLES / "tutorial/tutorial.ipynb").read_text())
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in code]


def run(command: str) -> int:
    """A verb in this process, a script in its own."""
    words = shlex.split(command)
    if words[0] == "mgf":
        return main(words[1:])
    assert words[0] == "python"
    program = [sys.executable, str(ROOT / words[1]), *words[2:]]
    return subprocess.run(program, check=False).returncode


def tones(folder: Path, names: Iterator[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(number).normal(size=16000)
        soundfile.write(path, noise, 16000)


@pytest.mark.slow
def test_the_notebook_goes_from_a_folder_to_a_model_in_at_most_twelve_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("espeakng_loader", reason="the voices come with extra [demo]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])  # the first cell changes it
    Path("examples").symlink_to(EXAMPLES)
    first, *others = cells()
    exec(first, {})
    assert Path.cwd() == tmp_path
    lines = [line for source in others for line in source.splitlines()]
    assert 8 <= len(lines) <= 12 and all(re.match("!(python|mgf) ", line) for line in lines)
    for line in (line.removeprefix("!") for line in lines):
        updates = 30 if "pretrain" in line else 2  # health judges windows of 25 updates
        toy = re.sub(r"--updates \d+", f"--updates {updates}", line).replace("louis", "anna")
        toy += " --count 4 --voices 6" if "digits.py" in toy else ""
        healthy = {0, 1} if "health" in toy else {0}  # so few updates may look like anything
        assert run(toy) in healthy, (line, capsys.readouterr())
    printed = capsys.readouterr().out
    assert "WER" in printed and "exported" in printed
    assert len(list(Path("recordings").rglob("*.flac"))) == 24
    spoken = Path("recordings/anna/anna-000.txt").read_text().split()
    assert 3 <= len(spoken) <= 7
    for made in ("runs/encoder/checkpoint_last.pt", "exported/model.ts", "data/test.ltr"):
        assert Path(made).is_file(), made


def test_the_commands_of_the_page_on_classes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("yes", "no")
    tones(Path("commands"), (f"{word}/{n}.wav" for word in words for n in range(10)))
    mgf_checkpoint(Path("CK"))
    Path("runs/commands").mkdir(parents=True)
    finetuned(Path("runs/commands/checkpoint_best.pt"), "classification", words)
    for line in commands("classify.md"):
        training = " --print" if line.startswith("mgf finetune") else ""
        quick = " --seeds 1 --device cpu" if line.startswith("mgf evaluate") else ""
        assert run(line + training + quick) == 0, (line, capsys.readouterr())
    assert set(Path("data/commands/train.keyword").read_text().split()) == set(words)
    printed = capsys.readouterr().out
    assert "task.labels=keyword" in printed and "accuracy" in printed


def test_the_commands_for_ones_own_language_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    people = ("ann", "bob", "eve")
    tones(Path("my_speech"), (f"{who}/{n}.wav" for who in people for n in range(4)))
    for path in Path("my_speech").rglob("*.wav"):
        path.with_suffix(".txt").write_text("a b ä", encoding="utf-8")
    mgf_checkpoint(Path("CK"))
    Path("runs/mine").mkdir(parents=True)
    finetuned(Path("runs/mine/checkpoint_best.pt"))
    soundfile.write("lecture.mp3", np.random.default_rng(0).normal(size=16000) / 9, 16000)
    block = commands("finetune/README.md")[:5]
    assert [line.split()[1] for line in block][-1] == "transcribe"
    for line in block:
        assert run(line + " --print" * line.startswith("mgf finetune")) == 0, line
    assert "Ä" in Path("data/mine/dict.ltr.txt").read_text(encoding="utf-8")
    assert "WER" in capsys.readouterr().out


def test_the_commands_of_the_page_on_scale_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tones(Path("audio"), (f"{n}.wav" for n in range(4)))
    for line in commands("scale.md"):
        assert run(line.replace("/path/to/audio", "audio")) == 0, (line, capsys.readouterr())
    assert list(Path("packed").glob("*.zip")) and "task.data=" in capsys.readouterr().out


def test_the_notebook_has_the_commands_words_and_outputs_of_the_tutorial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "tutorial")
    import notebook

    page = (EXAMPLES / "tutorial/README.md").read_text()
    found = json.loads((EXAMPLES / "tutorial/tutorial.ipynb").read_text())
    assert found == notebook.notebook(page), "run: python examples/tutorial/notebook.py"
    lines = [line for source in cells()[1:] for line in source.splitlines()]
    assert [line.removeprefix("!") for line in lines] == commands("tutorial/README.md")
    outputs = [cell["outputs"] for cell in found["cells"] if cell["cell_type"] == "code"]
    assert all(outputs[1:]), "a block of commands without what it prints"
