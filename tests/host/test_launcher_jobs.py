"""Each way to start many ranks, on the CPU: spawned, torchrun, SLURM, several nodes, submitit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launched import SLURM
from trainings import Training, weights

from mgf_fairseq.host.ranks import free_port

EXIT_CODE = 143  # what a shell reports for a process that SIGTERM has ended


@pytest.fixture(scope="module")
def arguments(corpus: Path, user_dir: str, pretrain_configs: Path) -> list[str]:
    """Of ``fairseq-hydra-train``, but for the folder to save in."""
    return [
        *("--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"),
        f"task.data={corpus}",
        f"common.user_dir={user_dir}",
        "common.log_interval=1",
        "dataset.max_tokens=50000",
        "dataset.num_workers=0",
        "dataset.disable_validation=true",
        "optimization.max_update=3",
    ]


def assert_trained(save_dir: Path, output: str, world_size: int, updates: int = 3) -> None:
    assert f"training on {world_size} devices" in output, output[-3000:]
    assert f'"num_updates": "{updates}"' in output, output[-3000:]
    assert weights(save_dir)


def assert_all_trained(save_dir: Path, ranks: list[Training]) -> None:
    codes = [training.exit_code() for training in ranks]
    assert codes == [0] * len(ranks), "\n".join(t.output()[-2000:] for t in ranks)
    assert_trained(save_dir, ranks[0].output(), len(ranks))
    assert all(training.updates() == {} for training in ranks[1:])  # rank 0 speaks for all


@pytest.mark.slow
@pytest.mark.ddp
def test_one_command_spawns_its_ranks_and_a_sigterm_to_it_alone_saves_them(
    tmp_path, trainings, arguments
):
    command = [
        *arguments,
        "distributed_training.distributed_world_size=2",
        f"checkpoint.save_dir={tmp_path}/run",
        "optimization.max_update=60",
    ]
    training = trainings.start(command, folder=tmp_path)
    training.wait_for('"num_updates": "1"', seconds=240)
    os.kill(training.pid, signal.SIGTERM)
    assert training.exit_code() == EXIT_CODE, training.output()[-3000:]
    saved = max(training.updates())
    assert saved < 60 and f"update {saved} is saved" in training.output()
    assert_trained(tmp_path / "run", training.output(), 2, saved)


@pytest.mark.slow
@pytest.mark.ddp
def test_torchrun_starts_ranks_from_any_working_directory(tmp_path, arguments):
    programs = Path(sys.executable).parent
    command = [
        *(str(programs / "torchrun"), "--nproc_per_node=2", f"--master_port={free_port()}"),
        str(programs / "fairseq-hydra-train"),
        *arguments,
        f"checkpoint.save_dir={tmp_path}/run",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_trained(tmp_path / "run", done.stdout + done.stderr, 2)


@pytest.mark.slow
@pytest.mark.ddp
def test_srun_starts_two_tasks_on_each_of_two_nodes(tmp_path, trainings, arguments, scontrol):
    port = str(free_port())
    settings = ["run=slurm", "common.cpu=true", "task.autocast=none", "dataset.num_workers=0"]
    ranks = [
        trainings.start(
            [*arguments, *settings, f"checkpoint.save_dir={tmp_path}/run"],
            environment={
                **SLURM,
                "PATH": os.environ["PATH"],
                "MGF_PORT": port,
                "SLURM_NNODES": "2",
                "SLURM_NTASKS_PER_NODE": "2",
                "SLURM_NODEID": str(rank // 2),
                "SLURM_LOCALID": str(rank % 2),
                "SLURM_PROCID": str(rank),
            },
        )
        for rank in range(4)
    ]
    assert_all_trained(tmp_path / "run", ranks)


@pytest.mark.parametrize("code", [0, 1, EXIT_CODE])
def test_the_script_for_slurm_puts_a_job_that_has_saved_back_into_the_queue(tmp_path, code):
    for name, body in {
        "srun": f'echo "$@" >{tmp_path}/srun; exit {code}',
        "scontrol": f'echo "$@" >{tmp_path}/scontrol_said',
        "mgf": "echo the-user-dir",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "9", "DATA": "data"}
    script = Path(__file__).resolve().parents[2] / "examples" / "pretrain" / "slurm.sh"
    done = subprocess.run(["bash", script, "optimization.max_update=7"], env=environment)
    assert done.returncode == code
    said = (tmp_path / "srun").read_text()
    assert "run=slurm task.data=data common.user_dir=the-user-dir optimization.max_update=7" in said
    requeued = tmp_path / "scontrol_said"
    assert requeued.exists() == (code == EXIT_CODE)
    if requeued.exists():
        assert requeued.read_text() == "requeue 9\n"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two_networks() -> Iterator[list[str]]:
    """Names of two network namespaces, 10.77.0.1 and 10.77.0.2, joined by a cable."""
    names = [f"mgf{os.getpid()}{end}" for end in "ab"]
    if shutil.which("ip") is None:
        pytest.skip("no command ip")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1])
        ip("link", "set", names[1], "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "link", "set", name, "name", "cable")
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no right to make network namespaces: {error.stderr.decode().strip()}")
    else:
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
@pytest.mark.ddp
def test_two_nodes_with_a_network_between_them_train(tmp_path, trainings, arguments, two_networks):
    ranks = [
        trainings.start(
            [*arguments, f"checkpoint.save_dir={tmp_path}/run"],
            environment={
                "MASTER_ADDR": "10.77.0.1",
                "MASTER_PORT": "29500",
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "MGF_TEST_NETWORK": name,
                "GLOO_SOCKET_IFNAME": "cable",
            },
            sabotage="other_network",
        )
        for rank, name in enumerate(two_networks)
    ]
    assert_all_trained(tmp_path / "run", ranks)


def tasks_of(training: Training) -> list[int]:
    """Processes that the local executor of submitit has started for a training."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().split("\0")
            group = os.getpgid(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
        if group == training.pid and "submitit.core._submit" in command:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.ddp
def test_a_job_of_submitit_trains_and_when_preempted_saves_requeues_and_resumes(
    tmp_path, trainings, arguments
):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [
        *arguments,
        *("run=submitit", "hydra/launcher=submitit_local"),
        "hydra.launcher.tasks_per_node=2",
        *("common.cpu=true", "task.autocast=none", "optimization.max_update=12"),
        "dataset.num_workers=0",
        f"checkpoint.save_dir={tmp_path}/run",
    ]
    training = trainings.start(command, folder=tmp_path)
    log = Training(trainings, training.pid, tmp_path / "run" / "hydra_train.log")
    log.wait_for('"num_updates": "1"', seconds=240)
    tasks = tasks_of(training)
    assert len(tasks) == 2
    for task in tasks:
        os.kill(task, signal.SIGUSR2)
    assert training.exit_code() == 0, training.output()[-3000:]
    said = log.output()
    saved = re.search(r"SIGUSR2: stopping after update (\d+)", said)
    assert saved and f"update {saved[1]} is saved" in said
    assert f'"num_updates": "{int(saved[1]) + 1}"' in said.split("is saved")[-1]
    assert_trained(tmp_path / "run", said, 2, updates=12)
    assert len(log.updates()) == 12
