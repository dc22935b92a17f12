"""Tasks as launchers start them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from mgf_fairseq.host.ranks import find_ranks

TORCHRUN = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7", "WORLD_SIZE": "4", "RANK": "3"}
SLURM = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NTASKS": "4"}


def settings_of(world_size: int) -> SimpleNamespace:
    return SimpleNamespace(
        distributed_backend="nccl",
        distributed_init_method=None,
        distributed_world_size=world_size,
        distributed_num_procs=1,
        distributed_port=-1,
        distributed_rank=0,
        distributed_no_spawn=False,
        device_id=0,
    )


def found(world_size: int, environment: dict[str, str], monkeypatch: Callable) -> SimpleNamespace:
    for name in (*TORCHRUN, *SLURM, "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = settings_of(world_size)
    find_ranks(settings, with_gpus=False)
    return settings
