"""SIGTERM: a second one, and workers that outlive the first."""

import os
import signal
import time
from contextlib import suppress

import pytest
import torch

from mgf_fairseq.host import preemption


@pytest.mark.parametrize(("apart", "ended_by"), [(0.0, signal.SIGTERM), (60.0, 0)])
def test_a_second_sigterm_ends_the_process_unless_it_is_the_same_request(
    monkeypatch, apart, ended_by
):
    monkeypatch.setattr(preemption, "SAME_REQUEST_S", apart)
    pid = os.fork()
    if pid == 0:
        request = preemption.StopRequest()
        request.listen([signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM) if request.received else None
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -ended_by


class Slow(torch.utils.data.Dataset):
    """Items that take their time."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        time.sleep(0.02)
        return index


def test_workers_outlive_the_sigterm_that_a_whole_job_gets_and_end_with_the_training(monkeypatch):
    init = preemption.with_patient_workers(torch.utils.data.DataLoader.__init__)
    monkeypatch.setattr(torch.utils.data.DataLoader, "__init__", init)
    monkeypatch.setattr(preemption.request, "replaced", {signal.SIGTERM: signal.SIG_DFL})
    batches = iter(torch.utils.data.DataLoader(Slow(), batch_size=1, num_workers=1))
    found = [int(next(batches))]
    (worker,) = batches._workers
    os.kill(worker.pid, signal.SIGTERM)
    assert [*found, *map(int, batches)] == list(range(8))
    # The training process lets it go, and then SIGTERM is heeded.
    batches = iter(torch.utils.data.DataLoader(Slow(), batch_size=1, num_workers=1))
    next(batches)
    (worker,) = batches._workers
    try:
        preemption._let_workers_go()
        with suppress(RuntimeError):  # torch may report at once that a worker has died
            worker.terminate()
            worker.join(timeout=30)
        worker.join(timeout=30)
        assert worker.exitcode == -signal.SIGTERM
    finally:
        preemption._leaving.value = 0
