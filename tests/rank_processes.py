"""Gloo processes that stay alive and run functions of the tests."""

import io
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mgf_fairseq import plugin as plugin  # what ranks need of fairseq's patches

MOST = 4
# Unequal shares, so that means per rank would be wrong by tens of percent. In the world of four an
# utterance's two views lie on two ranks, and one rank's only row has no partner anywhere.
ROWS = {
    2: [[0, 1, 2, 3, 4, 5], [6, 7]],
    4: [[0, 1, 2], [3, 4, 5, 6, 7], [8, 9], [10]],
}


class Ranks:
    """Gloo processes that stay alive, forked from one that has imported fairseq."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world, self.count = folder, 0, 0
        context = mp.get_context("forkserver")
        # torch._dynamo: what DDP imports when it wraps its first model.
        context.set_forkserver_preload(["mgf_fairseq", "torch._dynamo", "pytest"])
        self.tasks = [context.Queue() for _ in range(MOST)]
        self.results = [context.Queue() for _ in range(MOST)]
        self.processes = [
            context.Process(target=serve, args=(rank, self.tasks[rank], self.results[rank]))
            for rank in range(MOST)
        ]
        for process in self.processes:
            process.start()

    def run(self, function: Callable[..., Any], *args: Any, world: int = 2) -> list[Any]:
        """Run function(rank, *args) in the first `world` processes; return what each returned."""
        self.count += world != self.world
        self.world = world
        for tasks in self.tasks[:world]:
            tasks.put((function, args, world, f"file://{self.folder}/{self.count}"))
        found = [results.get(timeout=180) for results in self.results[:world]]
        for rank, (result, error) in enumerate(found):
            assert error is None, f"rank {rank}: {error}"
            found[rank] = torch.load(io.BytesIO(result))
        return found

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def serve(rank: int, tasks: Any, results: Any) -> None:
    torch.set_num_threads(1)
    joined = ""
    while True:
        function, args, world, place = tasks.get()
        buffer, error = io.BytesIO(), None
        try:
            if place != joined:
                join_world(rank, world, place)
                joined = place
            torch.save(function(rank, *args), buffer)
        except Exception:  # noqa: BLE001 (handed to the test, which fails with it)
            error = traceback.format_exc()
        results.put((buffer.getvalue(), error))


def join_world(rank: int, world: int, place: str) -> None:
    """Leave the process group of before for one of another size."""
    if dist.is_initialized():
        dist.destroy_process_group()
    # A rank that waits for ever fails instead.
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world, timeout=limit)
