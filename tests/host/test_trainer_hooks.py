"""The trainer reports what it does."""

from __future__ import annotations

from types import SimpleNamespace

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import pytest
from host_faults_trainers import _beating

from mgf_fairseq.host import trainer_hooks
from mgf_fairseq.host.heartbeat import Heartbeat


@pytest.fixture
def beating(monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    return _beating(monkeypatch)


def test_after_a_step_the_trainer_waits_for_data_and_after_a_save_is_where_it_was(beating):
    trainer = SimpleNamespace(get_num_updates=lambda: 4)
    step = trainer_hooks.reporting("update {}", "the wait after {}", ahead=1)(lambda self: 7)
    assert step(trainer) == 7 and beating.phase == "the wait after 4"
    save = trainer_hooks.reporting("saving update {}")(lambda self: beating.phase)
    assert save(trainer) == "saving update 4" and beating.phase == "the wait after 4"
