"""Kill it, stop it, fill its disk, cut its checkpoint: the same command goes on bit for bit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from trainings import Training, Trainings, weights

from mgf_fairseq.stopping import EXIT_CODE

pytestmark = pytest.mark.slow

UPDATES = 10
START = Callable[..., Training]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    server = Trainings(tmp_path_factory.mktemp("logs"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def start(
    trainings: Trainings, corpus: Path, user_dir: str, pretrain_configs: Path
) -> Callable[..., Training]:
    """`start(save_dir, *overrides, largest_file=None)`: the same command but for these."""

    def run(save_dir: Path, *overrides: str, largest_file: int | None = None) -> Training:
        given = [
            f"task.data={corpus}",
            f"common.user_dir={user_dir}",
            f"checkpoint.save_dir={save_dir}",
            "common.log_interval=1",
            "dataset.max_tokens=50000",  # 6 updates an epoch: most stops fall within one
            "dataset.num_workers=2",
            "dataset.disable_validation=true",
            f"optimization.max_update={UPDATES}",
            *overrides,
        ]
        configs = ["--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"]
        return trainings.start([*configs, *given], largest_file)

    return run


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, start: START) -> tuple[Path, Training]:
    """A run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    training = start(folder)
    assert training.exit_code() == 0, training.output()[-3000:]
    assert sorted(training.updates()) == list(range(1, UPDATES + 1))
    return folder, training


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, start: START) -> tuple[Path, Training]:
    """A run that gets SIGTERM early, its workers too, as SLURM sends it; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped")
    training = start(folder)
    training.wait_for('"num_updates": "1"')
    os.killpg(training.pid, signal.SIGTERM)
    assert training.exit_code() == EXIT_CODE, training.output()[-3000:]
    return folder, training


def assert_as_uninterrupted(
    straight: tuple[Path, Training], folder: Path, *parts: Training
) -> None:
    """Every update that a part has logged, and the weights at the end, are those of straight."""
    expected = straight[1].updates()
    for part in parts:
        assert part.updates() == {n: expected[n] for n in part.updates()}
    assert set().union(*(part.updates() for part in parts)) == set(expected)
    found, wanted = weights(folder), weights(straight[0])
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_sigterm_saves_the_update_in_progress_and_the_same_command_goes_on(
    tmp_path, start, straight, stopped
):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    last = max(stopped[1].updates())
    assert last < UPDATES
    assert f"update {last} is saved" in stopped[1].output()
    second = start(folder)
    assert second.exit_code() == 0, second.output()[-3000:]
    assert min(second.updates()) == last + 1
    assert_as_uninterrupted(straight, folder, stopped[1], second)
    # Once complete, the command has nothing to do, and changes nothing.
    before = (folder / "checkpoint_last.pt").stat()
    third = start(folder)
    assert third.exit_code() == 0 and third.updates() == {}
    assert "training is complete" in third.output()
    assert (folder / "checkpoint_last.pt").stat() == before


def test_after_kill_9_while_saving_and_with_a_cut_checkpoint_it_goes_on_from_the_last_whole_one(
    tmp_path, start, straight, stopped
):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    saves = "checkpoint.save_interval_updates=2"
    first = start(folder, saves)
    first.wait_for(r"Preparing to save checkpoint for epoch \d+ @ 8 ")
    os.killpg(first.pid, signal.SIGKILL)
    assert first.exit_code() == -signal.SIGKILL
    # What the kill left is whole, whenever it came; then the newest loses its end.
    last = folder / "checkpoint_last.pt"
    assert weights(folder)
    os.truncate(last, last.stat().st_size * 2 // 3)
    second = start(folder, saves)
    assert second.exit_code() == 0, second.output()[-3000:]
    fallen = re.search(r"cut short.*FALLING BACK to (\S+), update (\d+)", second.output())
    assert fallen and min(second.updates()) == int(fallen[2]) + 1 > 1
    assert_as_uninterrupted(straight, folder, stopped[1], first, second)
    assert not list(folder.glob("*.part*"))


def test_a_full_disk_lets_training_go_on_and_keeps_the_old_checkpoint_but_the_end_is_an_error(
    tmp_path, start, straight, stopped
):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    old = (folder / "checkpoint_last.pt").read_bytes()
    overrides = ("checkpoint.save_interval_updates=7", "optimization.max_update=8")
    training = start(folder, *overrides, largest_file=len(old) // 2)
    assert training.exit_code() == 1
    assert training.output().count("is not saved") == 2  # update 7, after which it goes on, and 8
    assert max(training.updates()) == 8
    assert re.search("CheckpointError: the training ends unsaved.*free in", training.output())
    assert (folder / "checkpoint_last.pt").read_bytes() == old
    assert [path.name for path in folder.glob("*.pt*")] == ["checkpoint_last.pt"]


def test_a_checkpoint_that_would_run_a_command_stops_the_training_that_would_resume_from_it(
    tmp_path, start
):
    marker = tmp_path / "it_ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {marker}",)

    (tmp_path / "run").mkdir()
    torch.save({"model": {}, "extra_state": Evil()}, tmp_path / "run" / "checkpoint_last.pt")
    training = start(tmp_path / "run")
    assert training.exit_code() == 1
    assert re.search(r"checkpoint_last\.pt: refused, it holds \S*system", training.output())
    assert not marker.exists()


@pytest.mark.ddp
def test_sigterm_to_one_of_two_ranks_stops_both_at_one_update_and_they_resume(tmp_path, start):
    def ranks(folder: Path) -> list[Training]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return [
            start(
                folder,
                "dataset.num_workers=0",
                "optimization.max_update=6",
                "distributed_training.distributed_world_size=2",
                f"distributed_training.distributed_init_method=tcp://127.0.0.1:{port}",
                "distributed_training.distributed_no_spawn=true",
                "distributed_training.distributed_backend=gloo",
                "distributed_training.ddp_backend=legacy_ddp",
                f"distributed_training.distributed_rank={rank}",
                f"hydra.run.dir={folder}/rank{rank}",
            )
            for rank in range(2)
        ]

    whole = ranks(tmp_path / "straight")
    assert [rank.exit_code() for rank in whole] == [0, 0], whole[0].output()[-3000:]
    first = ranks(tmp_path / "stopped")
    first[0].wait_for('"num_updates": "1"')
    os.kill(first[1].pid, signal.SIGTERM)
    assert [rank.exit_code() for rank in first] == [EXIT_CODE] * 2, first[0].output()[-3000:]
    second = ranks(tmp_path / "stopped")
    assert [rank.exit_code() for rank in second] == [0, 0], second[1].output()[-3000:]
    straight = tmp_path / "straight", whole[0]
    assert_as_uninterrupted(straight, tmp_path / "stopped", first[0], second[0])
