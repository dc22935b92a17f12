"""Whatever happens to one rank, the job continues or all ranks end with an error and the reason."""

from __future__ import annotations

import ctypes
import multiprocessing
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny
import torch
import torch.distributed as dist
from trainings import Training, Trainings

from mgf_fairseq.checkpoints import files
from mgf_fairseq.data import manifest
from mgf_fairseq.host import heartbeat, verification
from mgf_fairseq.host.heartbeat import Heartbeat, in_one_line
from mgf_fairseq.host.heartbeat_store import Beat, BeatStore, Watch
from mgf_fairseq.utils.distributed import RankError

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
    assert_all_end(ended["other model"], r"ranks differ in the model's parameters.*: \d+ on rank 0")


def test_a_rank_that_stops_moving_ends_all_after_the_stated_time_and_is_the_odd_one_out(
    tmp_path, start
):
    stuck = Scenario({1: "stuck_reading"}, ["distributed_training.heartbeat_timeout=20"])
    said = r"^nothing moves for 20 s .*rank 0 at update \d+; rank 1 at the wait for data"
    assert_all_end(start(stuck, tmp_path), said)


# ---- what the job survives


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


# ---- what the heartbeat says


def watching(rank: int = 0, world_size: int = 2) -> tuple[Heartbeat, dist.Store]:
    store = dist.HashStore()
    return Heartbeat(BeatStore(store, rank, world_size), patience_s=0.2), store


def test_the_first_reason_counts_whoever_writes_later():
    store = BeatStore(dist.HashStore(), 0, 2)
    assert store.reason() is None
    assert store.blame("rank 1 failed") == "rank 1 failed" == store.blame("rank 0 failed")
    assert store.reason() == "rank 1 failed"


def test_what_ended_a_run_does_not_end_the_next_in_the_same_store():
    store = dist.HashStore()
    BeatStore(store, 0, 2, run=1).blame("rank 1 failed")
    assert BeatStore(store, 0, 2, run=2).reason() is None


def test_a_beat_is_read_as_it_was_written():
    beat = Beat(3, 14, "the wait for data after update 7")
    assert Beat.decode(beat.encode().encode()) == beat


def test_a_rank_that_moves_is_not_stuck_and_one_that_does_not_is():
    first, store = watching()
    other = BeatStore(store, 1, 2)
    for move in range(3):
        other.write(Beat(move, move, f"update {move}"))
        assert first._look() is None
        time.sleep(0.1)
    time.sleep(0.2)
    other.write(Beat(9, 2, "update 2"))
    assert first._look() == (
        "nothing moves for 0.2 s (distributed_training.heartbeat_timeout): "
        "rank 0 at the start; rank 1 at update 2"
    )
    assert other.reason() is not None


def test_start_up_work_that_progresses_moves_a_rank(corpus, tmp_path, monkeypatch):
    first, _ = watching()
    monkeypatch.setattr(heartbeat, "_running", first)
    monkeypatch.setattr(manifest, "_BLOCK", 64)
    monkeypatch.setattr(files, "_BLOCK", 64)
    task = tiny.tiny_task(corpus)
    task.load_dataset("train")
    lines = (corpus / "train.tsv").stat().st_size
    assert first.moves >= lines / 64 > 2 and first.phase == "the start"
    # The checkpoint that is verified, and the batches of the look at validation.
    before, path = first.moves, tmp_path / "checkpoint_last.pt"
    torch.save({"model": {"weight": torch.zeros(100)}}, path)
    verification.verify(path)
    assert first.moves > before + 5
    before = first.moves
    batches = list(
        task.get_batch_iterator(task.dataset("train"), max_tokens=50000).next_epoch_itr()
    )
    assert first.moves == before + len(batches)


def test_a_rank_that_gives_no_sign_is_dead_whether_or_not_it_gave_one_before(monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT_S", 0.5)
    first, store = watching(world_size=3)
    BeatStore(store, 2, 3).write(Beat(1, 1, "update 1"))
    assert first._look() is None
    time.sleep(0.6)
    said = first._look()
    assert said is not None and "rank 0" not in said
    assert "rank 1 gives no sign of life, last at the start" in said
    assert "rank 2 gives no sign of life, last at update 1" in said


def test_who_was_suspended_itself_takes_nobody_for_dead_or_stuck(monkeypatch):
    clock = 100.0
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock)
    watch, beats = Watch(range(2)), {rank: Beat(5, 1, "update 1") for rank in range(2)}
    watch.see(beats)
    clock += 1000
    watch.see(beats)
    assert watch.silent(heartbeat.SILENT_S) == [] and watch.moved == clock
    for _ in range(int(heartbeat.SILENT_S) + 1):
        clock += 1
        watch.see(beats)
    assert watch.silent(heartbeat.SILENT_S) == [0, 1] and watch.moved < clock


def test_a_store_that_answers_no_more_ends_the_rank(monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT_S", 0.1)
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.02)
    first, _ = watching(rank=1)
    said: list[str] = []

    def leave(reason: str) -> None:
        said.append(reason)
        first.done.set()

    monkeypatch.setattr(first, "_leave", leave)
    monkeypatch.setattr(first.store, "write", lambda beat: threading.Event().wait())
    for thread in first.threads:
        thread.start()
    assert first.done.wait(30)
    assert len(said) == 1 and "out of reach" in said[0] and "no answer for 0.1 s" in said[0]


def test_an_error_of_the_network_that_is_nobody_elses_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    monkeypatch.setattr(heartbeat, "ASK_S", 0.1)
    monkeypatch.setattr(heartbeat, "FAREWELL_S", 0.0)
    monkeypatch.setattr(heartbeat, "_end_within", lambda seconds: None)
    first, store = watching(world_size=1)
    error = RuntimeError("NCCL error: unhandled cuda error")
    assert heartbeat._fail(first, error)
    later = Heartbeat(BeatStore(store, 1, 2), patience_s=0.0)
    assert not heartbeat._fail(later, error)


def hold_the_interpreter() -> None:
    heartbeat._end_within(0.2)
    ctypes.PyDLL(None).sleep(60)  # no thread of Python can run meanwhile


def test_a_rank_that_cannot_even_exit_is_ended():
    process = multiprocessing.get_context("fork").Process(target=hold_the_interpreter)
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == heartbeat.FAILED


def test_places_with_the_fewest_ranks_are_named_first():
    watch = Watch(range(3))
    watch.see({0: Beat(1, 1, "update 2"), 1: Beat(1, 1, "saving"), 2: Beat(1, 1, "update 2")})
    assert watch.say_stuck(5).endswith("rank 1 at saving; ranks 0, 2 at update 2")


def test_an_error_is_named_in_one_line():
    assert in_one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert in_one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    handed_over = "Caught OSError in a worker.\nOriginal Traceback (most recent "
    assert (
        in_one_line(OSError(f"{handed_over}call last):\n  line\nOSError: gone\n"))
        == "OSError: gone"
    )
    assert in_one_line(RankError("ranks differ")) == "ranks differ"
