"""Several fine-tunings at a time: threads of each, a failure among them, SIGTERM, a second call."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from waiting import is_running, wait_until

from mgf_fairseq.checkpoints.reading import BEST
from mgf_fairseq.evaluation.finetuning import side_by_side as module
from mgf_fairseq.evaluation.finetuning.side_by_side import train_side_by_side
from mgf_fairseq.evaluation.finetuning.training import Training
from mgf_fairseq.host.training_process import TrainingError

# Writes its process id and threads, waits for the file that it is told of, logs, ends with a code.
PROGRAM = """\
import os, pathlib, sys, time
folder, awaited, code = sys.argv[1:]
pathlib.Path(folder, "threads").write_text(os.environ["OMP_NUM_THREADS"])
pathlib.Path(folder, "begun").write_text(str(os.getpid()))
deadline = time.monotonic() + 60
while awaited and not os.path.exists(awaited) and time.monotonic() < deadline:
    time.sleep(0.02)
print('[2026-01-01 00:00:00][train_inner][INFO] - {"num_updates": "9", "nll_loss": "1.5"}')
print("the disk is full")
sys.exit(int(code) if os.path.exists(awaited) or not awaited else 7)
"""


def make(parent: Path, name: str, awaited: str | Path = "", code: int = 0) -> Training:
    folder = parent / name
    folder.mkdir()
    state = {"model": {}, "extra_state": {"previous_training_time": 2.0}}
    torch.save(state, folder / BEST)
    command = [sys.executable, "-c", PROGRAM, str(folder), str(awaited), str(code)]
    return Training(name, command, folder, 9)


def test_two_run_at_once_with_half_of_the_cores_each_and_a_second_call_has_nothing_to_do(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(module, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    said: list[str] = []
    # Each ends only after the other has begun.
    two = [make(tmp_path, "a", tmp_path / "b/begun"), make(tmp_path, "b", tmp_path / "a/begun")]
    train_side_by_side([*two, two[0]], 2, said.append)
    assert [(one.folder / "threads").read_text() for one in two] == ["3", "3"]
    assert said == ["asr: 2 training(s), 2 at a time, threads of each: 3"]
    shown = capfd.readouterr().err
    for name in "ab":
        assert f"{name}: 100%" in shown and "9/9" in shown and "letter 1.5" in shown
    train_side_by_side(two, 2, said.append)
    assert len(said) == 1
    # Alone, as after an interruption, it has no more threads than beside another.
    alone = make(tmp_path, "c")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    train_side_by_side([*two, alone], 2, said.append)
    assert (alone.folder / "threads").read_text() == "5"
    assert said[1:] == ["asr: 1 training(s), 1 at a time, threads of each: 5"]


def test_a_failure_is_reported_the_one_beside_it_ends_well_and_no_other_begins(tmp_path):
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "failed" in text:
            (tmp_path / "reported").touch()

    begun = tmp_path / "well/begun"
    three = [
        make(tmp_path, "ill", begun, code=3),
        make(tmp_path, "well", tmp_path / "reported"),
        make(tmp_path, "later", tmp_path / "reported"),
    ]
    with pytest.raises(TrainingError, match="exit code 3") as error:
        train_side_by_side(three, 2, say)
    assert "the disk is full" in error.value.tail
    assert len(said) == 2 and said[1].startswith("ill failed: ") and "console.log" in said[1]
    assert three[1].finished() is not None and three[0].finished() is None
    assert not (three[2].folder / "begun").exists()


def test_sigterm_ends_all_that_run_and_is_reported_as_no_failure(tmp_path, monkeypatch):
    two = [make(tmp_path, name, tmp_path / "never") for name in "ab"]
    begun = [one.folder / "begun" for one in two]

    def killpg_and_wait(pid: int, number: int, send=os.killpg) -> None:
        send(pid, number)
        time.sleep(0.2)  # the thread that waits for this child hears of its end before the caller

    monkeypatch.setattr(os, "killpg", killpg_and_wait)

    def kill() -> None:
        wait_until(lambda: all(path.exists() and path.read_text() for path in begun))
        os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SystemExit) as stop:
        train_side_by_side(two, 2, said.append)
    thread.join()
    assert stop.value.code == 143
    assert not any(is_running(int(path.read_text())) for path in begun)
    assert not any(one.finished() for one in two) and len(said) == 1
