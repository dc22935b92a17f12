"""Kill it, stop it, fill its disk, cut its checkpoint: the same command resumes bit for bit."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trainings import Training, Trainings, weights

from mgf_fairseq.host.ranks import free_port

pytestmark = pytest.mark.slow

UPDATES, EPOCH = 10, 6
EXIT_CODE = 143  # what a shell reports for a process that SIGTERM has ended
START = Callable[..., Training]


@pytest.fixture(scope="module")
def start(
    trainings: Trainings, corpus: Path, user_dir: str, pretrain_configs: Path
) -> Callable[..., Training]:
    """`start(save_dir, *overrides, ...)`: the same command but for these.

    `moment` is when it gets which signal (sabotage.at_a_moment), beyond `largest_file` bytes the
    disk is full.
    """

    def run(
        save_dir: Path, *overrides: str, moment: str = "", largest_file: int | None = None
    ) -> Training:
        given = [
            f"task.data={corpus}",
            f"common.user_dir={user_dir}",
            f"checkpoint.save_dir={save_dir}",
            "common.log_interval=1",
            "dataset.max_tokens=50000",  # EPOCH updates an epoch
            "dataset.num_workers=2",
            "dataset.disable_validation=true",
            f"optimization.max_update={UPDATES}",
            *overrides,
        ]
        configs = ["--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"]
        return trainings.start(
            [*configs, *given],
            largest_file,
            environment={"MGF_TEST_MOMENT": moment},
            sabotage="at_a_moment" if moment else "",
        )

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
    """A run that gets SIGTERM in update 3, its workers too, as from SLURM; not to be changed."""
    folder = tmp_path_factory.mktemp("stopped")
    training = start(folder, moment="SIGTERM update 3")
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


def test_sigterm_saves_the_update_in_progress_and_the_same_command_resumes(
    tmp_path, start, straight, stopped
):
    # In the middle of an epoch, and again in the last update of one.
    assert sorted(stopped[1].updates()) == [1, 2, 3]
    assert "update 3 is saved" in stopped[1].output()
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    second = start(folder, moment=f"SIGTERM update {EPOCH}")
    assert second.exit_code() == EXIT_CODE, second.output()[-3000:]
    assert sorted(second.updates()) == [4, 5, 6]
    # Neither the number of workers, audio in memory nor a validation changes anything.
    validates = ("dataset.disable_validation=false", "dataset.validate_interval_updates=2")
    third = start(folder, "dataset.num_workers=0", "task.cache=int16", *validates)
    assert third.exit_code() == 0, third.output()[-3000:]
    assert sorted(third.updates()) == [7, 8, 9, 10]
    assert third.output().count("[valid][INFO]") == 2
    assert_as_uninterrupted(straight, folder, stopped[1], second, third)
    # Once complete, the command has nothing to do, and changes nothing.
    before = identity(folder / "checkpoint_last.pt")
    fourth = start(folder)
    assert fourth.exit_code() == 0 and fourth.updates() == {}
    assert "training is complete" in fourth.output()
    assert identity(folder / "checkpoint_last.pt") == before


def identity(path: Path) -> tuple[int, ...]:
    """What differs once a file has been written or replaced; reading it changes none of these."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def test_a_run_with_augmentation_resumes_bit_for_bit(tmp_path, start, straight):
    kinds = ("noise", "room", "gain", "speed")
    given = [f"+task.augment.{kind}_prob=0.5" for kind in kinds]
    whole = start(tmp_path / "whole", *given)
    assert whole.exit_code() == 0, whole.output()[-3000:]
    assert whole.updates() != straight[1].updates()  # other sound
    first = start(tmp_path / "run", *given, moment="SIGTERM update 3")
    assert first.exit_code() == EXIT_CODE, first.output()[-3000:]
    second = start(tmp_path / "run", *given)
    assert second.exit_code() == 0, second.output()[-3000:]
    assert_as_uninterrupted((tmp_path / "whole", whole), tmp_path / "run", first, second)


def test_after_kill_9_it_resumes_from_the_last_save(tmp_path, start, straight, stopped):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    saves = "checkpoint.save_interval_updates=2"
    # While saving update 6, the second save of this process.
    first = start(folder, saves, moment="SIGKILL write 2")
    assert first.exit_code() == -signal.SIGKILL
    assert [path.name for path in folder.glob("*.part*")] == ["checkpoint_1_6.pt.part"]
    # In an update, in the middle of an epoch.
    second = start(folder, saves, moment="SIGKILL update 9")
    assert second.exit_code() == -signal.SIGKILL
    assert sorted(second.updates()) == [5, 6, 7, 8]
    assert not list(folder.glob("*.part*"))
    third = start(folder, saves)
    assert third.exit_code() == 0, third.output()[-3000:]
    assert sorted(third.updates()) == [9, 10]
    assert_as_uninterrupted(straight, folder, stopped[1], first, second, third)


def test_of_a_cut_checkpoint_the_last_whole_one_takes_the_place(tmp_path, start, straight, stopped):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    saves = ("checkpoint.save_interval_updates=2", "checkpoint.keep_interval_updates=2")
    first = start(folder, *saves, moment="SIGKILL update 9")
    assert first.exit_code() == -signal.SIGKILL
    last = folder / "checkpoint_last.pt"
    newest, *older = sorted(folder.glob("checkpoint_*_*.pt"), key=lambda p: -p.stat().st_mtime_ns)
    for path in (last, newest):
        os.truncate(path, path.stat().st_size * 2 // 3)
    second = start(folder, *saves)
    assert second.exit_code() == 0, second.output()[-3000:]
    fallen = re.search(r"cut short.*FALLING BACK to (\S+), update (\d+)", second.output())
    assert fallen and fallen[1] == older[0].name and int(fallen[2]) == 6
    assert sorted(second.updates()) == [7, 8, 9, 10]
    assert_as_uninterrupted(straight, folder, stopped[1], first, second)


def test_a_full_disk_lets_training_continue_and_keeps_the_old_checkpoint_but_the_end_is_an_error(
    tmp_path, start, straight, stopped
):
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    old = (folder / "checkpoint_last.pt").read_bytes()
    training = start(folder, "checkpoint.save_interval_updates=7", largest_file=len(old) // 2)
    assert training.exit_code() == 1
    assert (
        training.output().count("is not saved") == 2
    )  # update 7, after which it continues, and 10
    assert max(training.updates()) == UPDATES
    assert re.search("CheckpointError: the training ends unsaved.*free in", training.output())
    assert (folder / "checkpoint_last.pt").read_bytes() == old
    assert [path.name for path in folder.glob("*.pt*")] == ["checkpoint_last.pt"]
    # With room again, the same command resumes from the last checkpoint.
    again = start(folder)
    assert again.exit_code() == 0, again.output()[-3000:]
    assert_as_uninterrupted(straight, folder, stopped[1], training, again)


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
    def ranks(folder: Path, moment: str = "") -> list[Training]:
        port = free_port()
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
                moment=moment if rank == 1 else "",
            )
            for rank in range(2)
        ]

    whole = ranks(tmp_path / "straight")
    assert [rank.exit_code() for rank in whole] == [0, 0], whole[0].output()[-3000:]
    first = ranks(tmp_path / "stopped", "SIGTERM update 2")
    assert [rank.exit_code() for rank in first] == [EXIT_CODE] * 2, first[0].output()[-3000:]
    second = ranks(tmp_path / "stopped")
    assert [rank.exit_code() for rank in second] == [0, 0], second[1].output()[-3000:]
    straight = tmp_path / "straight", whole[0]
    assert_as_uninterrupted(straight, tmp_path / "stopped", first[0], second[0])
