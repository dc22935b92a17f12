"""Children end with the command that started them, and so does what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from waiting import is_running, wait_until

from mgf_fairseq.utils import processes as module
from mgf_fairseq.utils.processes import Children

# Starts a child of its own; both write their process id. The child heeds no SIGTERM.
FAMILY = """\
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
stubborn = "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
stubborn += f"pathlib.Path('{folder}/child').write_text(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn])
(folder / "parent").write_text(str(os.getpid()))
time.sleep(600)
"""


def test_what_does_not_end_when_asked_is_killed_with_its_whole_group(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code = ignoring + FAMILY.replace('"""', "")
    with pytest.raises(SystemExit) as stop, Children() as children:
        process = children.start([sys.executable, "-c", code, str(tmp_path)])
        files = [tmp_path / name for name in ("parent", "child")]
        wait_until(lambda: all(file.exists() and file.read_text() for file in files))
        pids = [int(file.read_text()) for file in files]
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143 and process.returncode == -signal.SIGKILL
    wait_until(lambda: not any(map(is_running, pids)), 10)


def test_ctrl_c_ends_children_too_and_what_is_started_after_it_ends_at_once(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    children, late = Children(), []
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(KeyboardInterrupt), children:
        early = children.start(sleeper)
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=lambda: late.append(children.start(sleeper)))
    thread.start()
    thread.join()
    assert early.returncode == -signal.SIGTERM
    assert late[0].wait(60) == -signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_an_error_in_the_command_ends_its_children(tmp_path):
    with pytest.raises(ValueError), Children() as children:
        process: subprocess.Popen[bytes] = children.start(["sleep", "600"])
        raise ValueError
    assert process.returncode == -signal.SIGTERM
