"""Whatever happens to one rank, the job continues or all ranks end with an error and the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny
from trainings import Training, Trainings

from mgf_fairseq.host import heartbeat

pytestmark = [pytest.mark.slow, pytest.mark.ddp]
# Seconds from the start of a training to its end: far more than it takes, far less than a hang.
WITHIN_S = 240
KILLED = -9


@dataclass
class Scenario:
    """A training of several ranks, and what happens in it."""

    sabotage: Mapping[int, str] = field(default_factory=dict)  # rank -> function of sabotage.py
    settings: Sequence[str] = ()
    own: Mapping[int, list[str]] = field(default_factory=dict)  # rank -> settings of its own
    ranks: int = 2


ENDING = {
    "assertion": Scenario({1: "assertion"}),
    "memory": Scenario({1: "out_of_memory"}),
    "killed": Scenario({1: "kill"}, ranks=3),
    "first killed": Scenario({0: "kill"}),
    "worker": Scenario({1: "worker_error"}, ["dataset.num_workers=1"]),
    "other batches": Scenario(own={1: ["dataset.max_tokens=80000"]}),
    "other model": Scenario(own={1: ["model.encoder_layers=3"]}),
}
Start = Callable[..., list[Training]]


@pytest.fixture(scope="module")
def start(trainings: Trainings, corpus: Path, user_dir: str, pretrain_configs: Path) -> Start:
    """`start(scenario, save_dir, data=corpus)`: its ranks."""

    def run(scenario: Scenario, save_dir: Path, data: Path = corpus) -> list[Training]:
        arguments = [
            *("--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"),
            f"task.data={data}",
            f"common.user_dir={user_dir}",
            f"checkpoint.save_dir={save_dir}",
            "common.log_interval=1",
            "dataset.max_tokens=50000",
            "dataset.num_workers=0",
            "optimization.max_update=8",
            "distributed_training.ddp_backend=legacy_ddp",  # DDP's import alone takes long
            *scenario.settings,
        ]
        return trainings.start_ranks(scenario.ranks, arguments, scenario.sabotage, scenario.own)

    return run


@pytest.fixture(scope="module")
def ended(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Training]]:
    """All that end badly, started together, for most of their time is waiting."""
    folder = tmp_path_factory.mktemp("ending")
    return {name: start(scenario, folder / name) for name, scenario in ENDING.items()}


def reasons(training: Training) -> list[str]:
    """What a rank has said of why all end."""
    return re.findall(r"ALL RANKS END: (.*) \[said by", training.output())


def assert_all_end(ranks: list[Training], reason: str, killed: Sequence[int] = ()) -> None:
    codes = [training.exit_code(WITHIN_S) for training in ranks]
    for rank, training in enumerate(ranks):
        if rank in killed:
            assert codes[rank] == KILLED
            continue
        assert codes[rank] == heartbeat.FAILED, f"rank {rank}: {training.output()[-3000:]}"
        assert len(reasons(training)) == 1, reasons(training)
        assert re.search(reason, reasons(training)[0])


def test_an_exception_in_one_rank_ends_all_and_each_says_whose_and_which(ended):
    assert_all_end(ended["assertion"], r"^rank 1 failed at update 2: AssertionError: planted$")
    first, second = (training.output() for training in ended["assertion"])
    assert "Traceback" not in first and "planted" in second


def test_a_rank_without_memory_for_a_batch_ends_all_instead_of_leaving_it_out(ended):
    assert_all_end(ended["memory"], r"^rank 1 failed at update 2: .*out of memory.*max_tokens")


def test_a_rank_that_is_killed_is_named_by_the_others(ended):
    assert_all_end(ended["killed"], r"^rank 1 gives no sign of life.*killed", killed=[1])


def test_the_first_rank_which_holds_the_store_may_be_killed_too(ended):
    assert_all_end(ended["first killed"], r"^rank 0.* (no sign of life|out of reach)", killed=[0])


def test_an_exception_in_a_worker_is_named_by_its_own_words(ended):
    assert_all_end(
        ended["worker"], r"^rank 1 failed at the wait for data .*: AssertionError: planted in a wor"
    )


def test_ranks_with_other_batches_than_each_other_do_not_begin(ended):
    assert_all_end(ended["other batches"], r"ranks differ in the number or order of batches.* on r")
    assert all(training.updates() == {} for training in ended["other batches"])


def test_ranks_with_other_models_than_each_other_do_not_begin(ended):
    differing = r"ranks differ in the model's parameters.*: number \d+ on rank 0"
    assert_all_end(ended["other model"], differing)


def test_a_rank_that_stops_moving_ends_all_after_the_stated_time_and_is_the_odd_one_out(
    tmp_path, start
):
    stuck = Scenario({1: "stuck_reading"}, ["distributed_training.heartbeat_timeout=20"])
    said = r"^nothing moves for 20 s .*rank 0 at update \d+; rank 1 at the wait for data"
    assert_all_end(start(stuck, tmp_path), said)


def written(root: Path, train: Sequence[bool], num_valid: int) -> Path:
    """A corpus whose training files are readable where `train` says so."""
    tiny.write_corpus(root, len(train), num_valid)
    for number, readable in enumerate(train):
        if not readable:
            (root / "audio" / f"{number}.wav").write_bytes(b"no audio")
    return root


def test_an_odd_number_of_batches_unreadable_ones_and_fewer_to_validate_than_ranks_are_no_end(
    tmp_path, start
):
    # One utterance a batch, so that an unreadable file leaves its rank with nothing at all; 7
    # batches for 3 ranks of 2 micro-batches each, and 1 for validation.
    data = written(tmp_path / "data", [True, False, True, True, False, True, True], 1)
    settings = ["dataset.batch_size=1", "optimization.update_freq=[2]"]
    settings += ["dataset.validate_interval_updates=2", "optimization.max_update=4"]
    ranks = start(Scenario(settings=settings, ranks=3), tmp_path / "run", data)
    codes = [training.exit_code(WITHIN_S) for training in ranks]
    assert codes == [0, 0, 0], ranks[0].output()[-3000:]
    output = ranks[0].output()
    assert sorted(ranks[0].updates()) == [1, 2, 3, 4]
    assert output.count("[valid][INFO]") == 2
    assert re.search(r'"train_skipped": "[1-9]', output)
