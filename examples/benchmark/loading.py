"""What the two benchmarks of loading share: a quiet folder, training's iterator, its workers.

Used by loader.py (throughput per format) and million.py (seconds and memory of a long manifest).
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgf_fairseq.task import MgfPretrainingTask


@contextmanager
def quiet_folder(parent: Path | None) -> Iterator[Path]:
    """Silence fairseq's log, and lend a folder that goes when the measurement is over."""
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


def train_iterator(task: MgfPretrainingTask, arguments: argparse.Namespace, workers: int) -> Any:
    """Batch the loaded set "train" as training does, for its first epoch."""
    return task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=arguments.max_tokens,
        num_workers=workers,
        seed=1,
        epoch=1,
    )


def worker_pids() -> list[int]:
    """Name the processes that load for this one."""
    return [child.pid for child in multiprocessing.active_children() if child.pid]
