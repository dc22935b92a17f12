"""`mgf pretrain` and `mgf finetune`: the command, the bar, health in words, and what comes next."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from tiny_checkpoints import mgf_checkpoint

from mgf_fairseq.cli import main
from mgf_fairseq.host import training_process as training_run

# A training that only logs: what the verbs show is read from the log.
_TRAINING = """\
import json, sys
folder = next(w for w in sys.argv if w.startswith("checkpoint.save_dir=")).split("=", 1)[1]
lines = ["[2026][mgf_fairseq.live][WARNING] - update 25: collapse (features): flat."]
for update in range(25, 101, 25):
    values = {"num_updates": str(update), "loss": "2.0", "nll_loss": "1.5", "gnorm": "0.5"}
    lines.append("[2026][train_inner][INFO] - " + json.dumps(values))
values = {"valid_num_updates": "100", "valid_wer": "40.5", "valid_uer": "12.5"}
lines.append("[2026][valid][INFO] - " + json.dumps(values))
open(folder + "/hydra_train.log", "w").write("\\n".join(lines) + "\\n")
print("\\n".join(lines))
sys.exit(int(any("seed=13" in word for word in sys.argv)))
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "train.py"
    program.write_text(f"#!{sys.executable}\n{_TRAINING}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(training_run, "_executable", lambda name: str(program))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train.tsv", "valid.tsv", "train.ltr", "valid.ltr", "dict.ltr.txt"):
        (folder / name).touch()
    mgf_checkpoint(tmp_path / "ck.pt")
    return folder


def test_a_training_ends_with_its_numbers_its_health_and_the_next_commands(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["finetune", "ck.pt", "data", "--updates", "100", "--dest", "run"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("$ fairseq-hydra-train --config-dir ")
    assert "100 of 100 updates done: run" in lines
    assert "on held-out data: letters wrong, % 12.5, WER, % 40.5" in lines
    assert "healthy at update 100" in lines
    assert "  mgf score --checkpoint run --manifest data/valid.tsv" in lines
    assert "  mgf transcribe run RECORDINGS" in lines
    assert "update 25: collapse (features): flat." in err
    assert "loss per letter 1.5" in err and "WER, % 40.5" in err
    assert "train_inner" not in out + err and "train_inner" in Path("run/console.log").read_text()


def test_a_command_is_printed_and_not_run(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pretrain", "data", "--print", "common.seed=5", "--dest", "run", "--json"]
    assert main(command) == 0
    printed, result = capsys.readouterr()
    assert json.loads(printed)["command"][-2:] == ["common.seed=5", "common.log_interval=24"]
    assert "$ fairseq-hydra-train" in result and not Path("run").exists()


def test_a_training_that_fails_is_an_error_that_names_its_log(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", "data", "--dest", "run", "common.seed=13"]) == 2
    assert "run/console.log" in capsys.readouterr().err
