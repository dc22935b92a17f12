"""Starts a training on its ranks: by itself, or as torchrun, SLURM or submitit have started them.

hydra loads this before fairseq looks for ranks (``hydra.callbacks`` in the YAML files), and
``call_main`` stands in for fairseq's, which knows GPUs only; each rank runs in lockstep.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fairseq.distributed import utils as distributed_utils
from fairseq.utils import import_user_module
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from ..checkpoints.files import CheckpointError
from .heartbeat import FAILED, in_lockstep
from .preemption import EXIT_CODE
from .ranks import find_ranks, ranks_here
from .start_checks import SettingsError, look_before_start, unknown_keys
from .sweeps import separate_jobs
from .trainer_hooks import follow_trainer

logger = logging.getLogger(__name__)

GRACE_S = 60.0  # for the ranks of this process, once one has ended with an error
MARGIN_S = 60.0  # that collectives wait longer than lockstep, which can say more

_call_main = distributed_utils.call_main


class Launch(Callback):
    """What the YAML names for hydra: loading it has put this module in its place."""

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Before a sweep: a folder for each job."""
        separate_jobs(config)
        HydraConfig.instance().set_config(config)  # the sweep's own folder may name parts of it

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Before a training: keys that nobody knows are one line, and exit code 1.

        Raises:
            SystemExit: there are some; hydra would take any other error for a warning.
        """
        if found := unknown_keys(config):
            logger.error("%s", "; ".join(found))
            raise SystemExit(FAILED)


def take_over_launch() -> None:
    """Put ``call_main`` in the place of fairseq's; again changes nothing."""
    distributed_utils.call_main = call_main


# ---- which ranks there are


# ---- starting them


def call_main(cfg: Any, main: Any, **kwargs: Any) -> None:
    """Run a training on all ranks of this process; stands in for fairseq's."""
    _look(cfg)
    settings = cfg.distributed_training
    if cfg.common.tpu or settings.pipeline_model_parallel:
        _call_main(cfg, main, **kwargs)
        return
    with_gpus = torch.cuda.is_available() and not cfg.common.cpu
    find_ranks(settings, with_gpus)
    if settings.distributed_init_method is None:
        main(cfg, **kwargs)
    elif settings.distributed_no_spawn:
        run_rank(settings.device_id, main, cfg, kwargs)
    else:
        _spawn(cfg, main, kwargs, ranks_here(settings, with_gpus))


def _look(cfg: Any) -> None:
    """Look at the settings; what cannot work is one line in the log and exit code 1.

    Raises:
        SystemExit: there is something; in a sweep SettingsError, so that its other jobs run.
    """
    try:
        _name_this_package(cfg.common)
        import_user_module(cfg.common)  # which may register what the settings name
        look_before_start(cfg)
    except (SettingsError, CheckpointError) as error:
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        logger.error("%s", error)
        raise SystemExit(FAILED) from None


def _name_this_package(common: Any) -> None:
    """Name this package so that every process finds it from any working directory.

    Raises:
        SettingsError: another copy of it is asked for, which fairseq cannot load beside this one.
    """
    package = Path(__file__).parents[1]
    if common.user_dir is None or Path(common.user_dir).name != package.name:
        return
    if Path(common.user_dir).resolve() != package.resolve():
        raise SettingsError(
            f"common.user_dir={common.user_dir} is not the {package.name} that is installed, "
            f"{package}; name that one ($(mgf user-dir)), or install the other (pip install -e)"
        )
    common.user_dir = str(package)


def _spawn(cfg: Any, main: Any, kwargs: dict[str, Any], number: int) -> None:
    """Start ranks and wait for them; SIGTERM goes to all of them, and they are waited for.

    Raises:
        SystemExit: they have stopped at a SIGTERM, saved.
    """
    settings = cfg.distributed_training
    kwargs["start_rank"], settings.distributed_rank = settings.distributed_rank, None
    ranks: Any = start_processes(  # type: ignore[no-untyped-call]
        run_rank, (main, cfg, kwargs), number, join=False
    )
    with _handing_on(signal.SIGTERM, ranks.pids()):
        try:
            while not ranks.join(grace_period=GRACE_S):
                pass
        except ProcessExitedException as error:
            if error.exit_code == EXIT_CODE:
                raise SystemExit(EXIT_CODE) from None
            raise


@contextmanager
def _handing_on(number: int, processes: list[int]) -> Iterator[None]:
    """Send a signal on to these processes instead of ending by it."""

    def handle(*_: Any) -> None:
        for process in processes:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(process, number)

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def run_rank(number: int, main: Any, cfg: Any, kwargs: dict[str, Any]) -> None:
    """Run one rank, the number-th of its node: join the others, then train in lockstep."""
    settings = cfg.distributed_training
    patience_s = float(settings.heartbeat_timeout)
    # fairseq's own way with it ends ranks that save or validate for long, and says nothing of why.
    settings.heartbeat_timeout = -1
    train = functools.partial(_train, main, patience_s)
    with _patient_collectives(patience_s):
        distributed_utils.distributed_main(number, train, cfg, kwargs)


def _train(main: Any, patience_s: float, cfg: Any, **kwargs: Any) -> None:
    with in_lockstep(patience_s):
        follow_trainer()
        main(cfg, **kwargs)


@contextmanager
def _patient_collectives(patience_s: float) -> Iterator[None]:
    """Let process groups that are made here wait for so long; torch's own default if 0 or less."""
    init, new = dist.init_process_group, dist.new_group
    if patience_s > 0:
        wait = timedelta(seconds=patience_s + MARGIN_S)
        dist.init_process_group = functools.partial(init, timeout=wait)
        dist.new_group = functools.partial(new, timeout=wait)
    try:
        yield
    finally:
        dist.init_process_group, dist.new_group = init, new


# ---- where a rank is
