"""What the unpatched host does wrong in a training; registered as in host_faults.py."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import pytest
import torch
import torch.distributed as dist
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.trainer import Trainer
from host_faults import Shows, fault_of
from torch.utils.data import DataLoader

from mgf_fairseq.host import heartbeat, preemption, saving, trainer_hooks
from mgf_fairseq.host.heartbeat import Heartbeat
from mgf_fairseq.host.heartbeat_store import START, BeatStore


def _beating(monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    running = Heartbeat(BeatStore(dist.HashStore(), 0, 2), patience_s=0.0)
    monkeypatch.setattr(heartbeat, "_running", running)
    return running


PHASES = {
    "train_step": "update 5",
    "valid_step": "validation after update 4",
    "save_checkpoint": "saving update 4",
}


def _names_no_phase(method: str) -> Shows:
    def shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
        running = _beating(monkeypatch)
        stub = SimpleNamespace(get_num_updates=lambda: 4)
        with suppress(AttributeError):  # the stub has nothing of what the method needs
            getattr(Trainer, method)(stub, None, None)
        assert running.phase in (START, PHASES[method])
        return running.phase == START

    return shows


for _method in PHASES:
    fault_of(f"fairseq.trainer:Trainer.{_method}")(_names_no_phase(_method))


@fault_of("fairseq.trainer:Trainer.state_dict")
def _a_checkpoint_does_not_note_its_data(folder, monkeypatch) -> bool:
    trainer = MagicMock(sources={"train.tsv": "1234"}, _optim_history=[], cfg=MagicMock())
    state = Trainer.state_dict(trainer)
    assert "task_state" in state
    return state.get(saving.SOURCES_KEY) != {"train.tsv": "1234"}


@fault_of("fairseq.trainer:Trainer._log_oom")
def _a_rank_without_memory_only_logs_it(folder, monkeypatch) -> bool:
    monkeypatch.setattr(trainer_hooks, "is_distributed", lambda: True)
    try:
        Trainer._log_oom(SimpleNamespace(), RuntimeError("CUDA out of memory"))
    except trainer_hooks.RankError:
        return False
    return True


@fault_of("fairseq_cli.train:validate_and_save")
def _a_request_to_stop_is_not_seen_between_updates(folder, monkeypatch) -> bool:
    saved = []
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", lambda *_: saved.append(1))
    monkeypatch.setattr(preemption.request, "received_at", time.monotonic())
    monkeypatch.setattr(preemption.request, "number", signal.SIGTERM)
    cfg = SimpleNamespace(
        optimization=SimpleNamespace(max_update=0, max_epoch=0, stop_time_hours=0),
        checkpoint=CheckpointConfig(patience=-1),
        dataset=SimpleNamespace(
            validate_after_updates=0, validate_interval_updates=0, disable_validation=True
        ),
    )
    trainer = MagicMock(device=torch.device("cpu"), unsaved=None)
    trainer.get_num_updates.return_value = 3
    trainer.cumulative_training_time.return_value = 1.0
    train = sys.modules["fairseq_cli.train"]
    try:
        train.validate_and_save(cfg, trainer, None, MagicMock(), ["valid"], False)
    except SystemExit as stop:
        assert stop.code == preemption.EXIT_CODE and saved
        return False
    return not saved


@fault_of("torch.utils.data:DataLoader.__init__")
def _workers_end_by_the_sigterm_of_a_whole_job(folder, monkeypatch) -> bool:
    monkeypatch.setattr(preemption.request, "replaced", {signal.SIGTERM: signal.SIG_DFL})
    batches = iter(DataLoader(list(range(8)), batch_size=1, num_workers=1, prefetch_factor=1))  # type: ignore[arg-type]
    found = [int(next(batches))]
    (worker,) = batches._workers  # type: ignore[attr-defined]
    worker.terminate()
    try:
        found += map(int, batches)
    except (RuntimeError, OSError, EOFError):  # by where the worker was
        return True
    finally:
        worker.kill()
    return found != list(range(8))
