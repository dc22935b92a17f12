"""Which rank this process is, and how many there are: from SLURM, from torchrun or by itself.

The launcher asks before it starts or joins a training.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.distributed import utils as distributed_utils

from ..utils.distributed import RankError

PORTS = range(10_000, 32_000)  # none of those that Linux by default gives to connections


@dataclass(frozen=True)
class Place:
    """Which rank this process is among those that torchrun, SLURM or submitit has started."""

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
    found = subprocess.run(command, capture_output=True, text=True)
    names = found.stdout.split()
    if found.returncode or not names:
        why = found.stderr.strip() or f"exit code {found.returncode}, no names"
        raise RankError(f"{' '.join(command)} does not name this job's nodes: {why}")
    keys = (f"SLURM_{key}" for key in ("PROCID", "NTASKS", "JOB_ID"))
    rank, size, job = (int(environment[key]) for key in keys)
    return Place(rank, size, f"tcp://{names[0]}:{port if port > 0 else _port_of(job)}")


def _port_of(job: int) -> int:
    return random.Random(job).choice(PORTS)


def find_ranks(settings: Any, with_gpus: bool) -> None:
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


def ranks_here(settings: Any, with_gpus: bool) -> int:
    """How many ranks this process starts; with several nodes they start at distributed_rank."""
    world = int(settings.distributed_world_size)
    if with_gpus:
        return min(torch.cuda.device_count(), world)
    number = int(settings.distributed_num_procs or 1)  # 1 by default, where there is no GPU
    return min(number, world) if number > 1 else world
