"""The page on features shows what works: its command and its ten lines of numpy."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.cli import main

PAGE = (Path(__file__).parents[2] / "examples" / "extract" / "README.md").read_text()


def test_the_command_writes_what_the_ten_lines_read(
    tmp_path: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(corpus)
    command = shlex.split(next(re.finditer(r"^mgf (extract .*)$", PAGE, re.M))[1])
    checkpoint = Path(command[command.index("--checkpoint") + 1])
    checkpoint.parent.mkdir(parents=True)
    mgf_checkpoint(checkpoint)
    assert main(command) == 0
    capsys.readouterr()
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert code is not None
    names: dict[str, object] = {}
    exec(code[1], names)
    features = names["features"]
    assert isinstance(features, dict) and set(features) == {f"{k}.wav" for k in range(12, 16)}
    frames = np.load("features/valid/layer_1.npy")
    np.testing.assert_array_equal(np.concatenate(list(features.values())), frames)
    assert capsys.readouterr().out == f"50.0 4 {frames.shape}\n"
