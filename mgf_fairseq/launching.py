"""Starts a training on its ranks: by itself, or as torchrun, SLURM or submitit have started them.

hydra loads this before fairseq looks for ranks (``hydra.callbacks`` in the YAML files), and
``call_main`` stands in for fairseq's, which knows GPUs only; each rank runs in lockstep.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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

from .checkpoint_files import CheckpointError
from .distributed import RankError
from .lockstep import FAILED, at, in_lockstep
from .start_checks import SettingsError, look_before_start, unknown_keys
from .stopping import EXIT_CODE
from .sweeps import separate_jobs

logger = logging.getLogger(__name__)

GRACE_S = 60.0  # for the ranks of this process, once one has ended with an error
PORTS = range(10_000, 32_000)  # none of those that Linux, unless told so, gives to connections
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


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that somebody else has started."""

    rank: int
    world_size: int
    init_method: str


def place_among_ranks(environment: Mapping[str, str]) -> Place | None:
    """Read from the environment which rank torchrun or submitit has started this process as.

    Under SLURM submitit's processes are tasks of SLURM; here are those of its local executor.
    """
    if all(key in environment for key in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")):
        return Place(int(environment["RANK"]), int(environment["WORLD_SIZE"]), "env://")
    if environment.get("SUBMITIT_EXECUTOR") == "local":
        keys = (f"SUBMITIT_LOCAL_{key}" for key in ("GLOBALID", "NTASKS", "JOB_ID"))
        rank, size, job = (int(environment[key]) for key in keys)
        return Place(rank, size, f"tcp://127.0.0.1:{_port_of(job)}")
    return None


def slurm_task(environment: Mapping[str, str], port: int) -> Place | None:
    """Read from the environment which task of a SLURM step this process is: one rank each.

    Args:
        environment: of this process.
        port: where ranks meet; 0 or less: drawn from the job's number.

    Raises:
        RankError: its nodes cannot be found out.
    """
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    if nodes is None or "SLURM_PROCID" not in environment:
        return None
    if shutil.which("scontrol") is None:
        raise RankError(f"SLURM has started this on {nodes}, yet scontrol is not in PATH")
    command = ["scontrol", "show", "hostnames", nodes]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0]
    keys = (f"SLURM_{key}" for key in ("PROCID", "NTASKS", "JOB_ID"))
    rank, size, job = (int(environment[key]) for key in keys)
    return Place(rank, size, f"tcp://{first}:{port if port > 0 else _port_of(job)}")


def _port_of(job: int) -> int:
    return random.Random(job).choice(PORTS)


def _find_ranks(settings: Any, with_gpus: bool) -> None:
    """Fill in rank, world size and meeting place, which fairseq cannot do without GPUs."""
    if not with_gpus and settings.distributed_backend == "nccl":
        settings.distributed_backend = "gloo"
    if settings.distributed_init_method is not None:
        return
    wanted = int(settings.distributed_world_size)
    # The number is torchrun's to say. Tasks of SLURM may also be trainings of their own.
    place = place_among_ranks(os.environ)
    if place is None and wanted > 1 and not with_gpus:
        place = slurm_task(os.environ, settings.distributed_port)
        if place is not None and place.world_size != wanted:
            raise RankError(
                f"distributed_world_size={wanted}, but SLURM has started {place.world_size} "
                "tasks; run=slurm takes the number from SLURM"
            )
    if place is not None and place.world_size > 1:
        settings.distributed_init_method = place.init_method
        settings.distributed_world_size = place.world_size
        settings.distributed_rank = place.rank
        settings.distributed_no_spawn = True
        settings.device_id = place.rank % torch.cuda.device_count() if with_gpus else 0
    elif with_gpus:
        distributed_utils.infer_init_method(settings)
    elif wanted > 1:
        settings.distributed_init_method = f"tcp://127.0.0.1:{free_port()}"


def free_port() -> int:
    """Draw a port for ranks of this machine to meet at.

    Rank 0 listens there seconds later. A port that the system itself gives away (bind to 0) may
    have gone to an outgoing connection by then.

    Raises:
        OSError: 100 ports were taken, or this machine has no 127.0.0.1.
    """
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
    raise OSError(errno.EADDRINUSE, f"100 ports from {PORTS[0]} to {PORTS[-1]} are all taken")


# ---- starting them


def call_main(cfg: Any, main: Any, **kwargs: Any) -> None:
    """Run a training on all ranks of this process; stands in for fairseq's."""
    _look(cfg)
    settings = cfg.distributed_training
    if cfg.common.tpu or settings.pipeline_model_parallel:
        _call_main(cfg, main, **kwargs)
        return
    with_gpus = torch.cuda.is_available() and not cfg.common.cpu
    _find_ranks(settings, with_gpus)
    if settings.distributed_init_method is None:
        main(cfg, **kwargs)
    elif settings.distributed_no_spawn:
        run_rank(settings.device_id, main, cfg, kwargs)
    else:
        _spawn(cfg, main, kwargs, _ranks_here(settings, with_gpus))


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
    package = Path(__file__).parent
    if common.user_dir is None or Path(common.user_dir).name != package.name:
        return
    if Path(common.user_dir).resolve() != package.resolve():
        raise SettingsError(
            f"common.user_dir={common.user_dir} is not the {package.name} that is installed, "
            f"{package}; name that one ($(mgf user-dir)), or install the other (pip install -e)"
        )
    common.user_dir = str(package)


def _ranks_here(settings: Any, with_gpus: bool) -> int:
    """How many ranks this process starts; with several nodes they start at distributed_rank."""
    world = int(settings.distributed_world_size)
    if with_gpus:
        return min(torch.cuda.device_count(), world)
    number = int(settings.distributed_num_procs or 1)  # 1 by default, where there is no GPU
    return min(number, world) if number > 1 else world


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
        _follow_trainer()
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


def _follow_trainer() -> None:
    """Let fairseq's trainer tell lockstep where it is; again changes nothing."""
    from fairseq.trainer import Trainer

    if hasattr(Trainer._log_oom, "__wrapped__"):
        return
    waits = "the wait for data after update {}"
    Trainer.train_step = _telling(Trainer.train_step, "update {}", waits, ahead=1)
    Trainer.valid_step = _telling(
        Trainer.valid_step, "validation after update {}", "validation's wait for data, update {}"
    )
    Trainer.save_checkpoint = _telling(Trainer.save_checkpoint, "saving update {}")
    Trainer._log_oom = _ending_all(Trainer._log_oom)


def _telling(method: Any, during: str, after: str | None = None, ahead: int = 0) -> Any:
    """Wrap a method of the trainer so that it says where it is, and where it goes from there."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = at(during.format(self.get_num_updates() + ahead))
        result = method(self, *args, **kwargs)
        at(before if after is None else after.format(self.get_num_updates()))
        return result

    return wrapped


def _ending_all(log_oom: Any) -> Any:
    """Wrap what fairseq calls before it leaves out a batch for which memory was too small.

    The other ranks have that batch's sums to make with this one, so leaving it out would hang.
    """

    @functools.wraps(log_oom)
    def wrapped(self: Any, exc: Exception) -> None:
        log_oom(self, exc)
        raise RankError(
            f"{str(exc).splitlines()[0]} Lower dataset.max_tokens; optimization.update_freq "
            "makes up for it"
        ) from exc

    return wrapped
