"""Beats of ranks: who is stuck, dead or suspended, and how that ends a run."""

from __future__ import annotations

import ctypes
import multiprocessing
import threading
import time

import pytest
import tiny
import torch
import torch.distributed as dist

from mgf_fairseq.checkpoints import files
from mgf_fairseq.data import manifest
from mgf_fairseq.host import heartbeat, verification
from mgf_fairseq.host.heartbeat import Heartbeat, in_one_line
from mgf_fairseq.host.heartbeat_store import Beat, BeatStore, Watch
from mgf_fairseq.utils.distributed import RankError

pytestmark = [pytest.mark.slow, pytest.mark.ddp]


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
