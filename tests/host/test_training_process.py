"""A training as a sub-process: its bar, its log, and what is said when it fails."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from waiting import is_running, wait_until

from mgf_fairseq.host.training_process import (
    TrainingError,
    override,
    run_training,
    training_command,
)
from mgf_fairseq.utils.package import package_dir

TRAINING = """\
#!{python}
import sys
for update in (5, 10):
    print('[x][train_inner][INFO] - {{"nll_loss": "1.5", "num_updates": "%d"}}' % update)
print("Traceback (most recent call last):")
print("ValueError: the disk is full")
print("")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "training"
    path.write_text(TRAINING.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("/a/b-c_d.pt", "/a/b-c_d.pt"),
        ("/a b/c=d,e.pt", "/a b/c=d,e.pt"),
        ("/it's/[here]/${x}.pt", "/it's/[here]/${x}.pt"),
        ("", ""),
        (True, True),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_an_override_reaches_hydra_as_it_is(value, parsed):
    (found,) = OverridesParser.create().parse_overrides([override("task.data", value)])
    assert found.key_or_group == "task.data" and found.value() == parsed


def test_a_finished_training_leaves_its_log_and_its_numbers_on_the_bar(program, tmp_path, capfd):
    run_training([program, "0"], tmp_path / "run", 10, {"loss": "nll_loss"}, "seed 1")
    shown = capfd.readouterr().err
    assert "10/10" in shown and "loss 1.5" in shown and "seed 1" in shown
    log = (tmp_path / "run" / "console.log").read_text()
    run_training([program, "0"], tmp_path / "run", 10, {})
    assert (tmp_path / "run" / "console.log").read_text() == 2 * log  # a resumed run appends


def test_a_failed_training_is_named_with_its_reason_and_the_end_of_its_log(program, tmp_path):
    with pytest.raises(
        TrainingError, match=r"exit code 3 .*the disk is full.*console\.log"
    ) as error:
        run_training([program, "3"], tmp_path / "run", 10, {})
    assert "Traceback" in error.value.tail


def test_the_command_trains_with_this_package_as_user_dir():
    command = training_command(Path("recipes/ctc.yaml"), ["a=1"])
    assert command[0] == "fairseq-hydra-train" and command[-1] == "a=1"
    assert command[2:5] == [str(Path("recipes").resolve()), "--config-name", "ctc"]
    assert command[5] == f"common.user_dir={package_dir()}"


def test_a_training_ends_with_the_command_that_was_killed(tmp_path):
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!{sys.executable}\nimport os, time\n"
        f"open('{tmp_path}/pid', 'w').write(str(os.getpid()))\nprint('on', flush=True)\n"
        "time.sleep(600)\n"
    )
    slow.chmod(0o755)
    code = (
        "from pathlib import Path\nfrom mgf_fairseq.host.training_process import run_training\n"
        f"run_training(['{slow}'], Path('{tmp_path}/run'), 1, {{}})\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as command:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        pid = int((tmp_path / "pid").read_text())
        command.terminate()
        assert command.wait(60) == 143
    wait_until(lambda: not is_running(pid))
