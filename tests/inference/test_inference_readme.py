"""The page on using a fine-tuned model shows what works: its commands and its Python."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_checkpoints import finetuned

from mgf_fairseq.cli import main

PAGE = (Path(__file__).parents[2] / "examples" / "transcribe" / "README.md").read_text()


def test_the_commands_and_the_python_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/ctc_ltr", "runs/classification_spk", "recordings", "data"):
        Path(folder).mkdir(parents=True)
    finetuned(Path("runs/ctc_ltr/checkpoint_best.pt"))
    finetuned(Path("runs/classification_spk/checkpoint_best.pt"), "classification", "xyz")
    array = 0.1 * np.random.default_rng(0).normal(size=44100)
    for name in ("lecture.mp3", "talk.flac", "recordings/a.wav", "data/b.wav"):
        soundfile.write(name, array, 44100)
    Path("data/test.tsv").write_text(f"{tmp_path}/data\nb.wav\t44100\n")
    Path("data/test.spk").write_text("y\n")
    commands = re.findall(r"^mgf ([^>\n]*)", PAGE, re.M)
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command)) == 0, command
    assert Path("transcripts/a.txt").is_file() and "accuracy" in capsys.readouterr().out
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert code is not None
    names: dict[str, object] = {"array": array}
    exec(code[1], names)
    assert capsys.readouterr().out.count("Word(") > 1
