"""Several fine-tunings at a time, in processes that end with this one.

`mgf evaluate --asr-jobs` trains through here before it scores; a small model cannot use many cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ...utils.processes import Children
from ...utils.processor import cores
from ...utils.progress import clear_below
from .training import Training

_THREADS = "OMP_NUM_THREADS"


def train_side_by_side(
    trainings: Sequence[Training], jobs: int, say: Callable[[str], object]
) -> None:
    """Run unfinished trainings, `jobs` at a time; Ctrl-C and SIGTERM reach all of them.

    Each has ``cores // jobs`` threads, also where fewer run, unless the environment sets
    OMP_NUM_THREADS. Sums depend on the number of threads in their last digits, so a training gives
    the same numbers alone and beside others. If one fails, those under way run to their end, and no
    other begins.

    Args:
        trainings: a folder that occurs twice is trained once.
        jobs: how many at a time, at least 1.
        say: called with a sentence at the start and for each failure.

    Raises:
        ValueError: what the first one that failed has raised.
    """
    by_folder = {training.folder: training for training in trainings}
    waiting = [training for training in by_folder.values() if training.finished() is None]
    if not waiting:
        return
    threads = os.environ.get(_THREADS, str(max(1, cores() // jobs)))
    count = min(jobs, len(waiting))
    say(f"asr: {len(waiting)} training(s), {count} at a time, threads of each: {threads}")
    failed = threading.Event()

    def run(training: Training) -> None:
        if failed.is_set() or children.ending:
            return
        try:
            training.run({_THREADS: threads}, children.start)
        except Exception as error:
            failed.set()  # here, before this thread takes the next one
            if not children.ending:  # else Ctrl-C or SIGTERM: `children` has passed it on
                say(f"{training.name} failed: {error}")
            raise

    with Children() as children, ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run, training) for training in waiting]
        errors = [future.exception() for future in as_completed(running)]
    clear_below()
    for error in errors:  # in the order in which they ended
        if error is not None:
            raise error
