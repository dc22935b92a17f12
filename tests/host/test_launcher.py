"""How many ranks, which back end, which copy of the package."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from launched import SLURM, TORCHRUN, found, settings_of

import mgf_fairseq
from mgf_fairseq.host import launcher
from mgf_fairseq.host.ranks import ranks_here
from mgf_fairseq.utils.distributed import RankError

PACKAGE = Path(mgf_fairseq.__file__).parent


def test_without_a_gpu_the_back_end_is_gloo_and_torchrun_decides_how_many(monkeypatch):
    settings = found(1, TORCHRUN, monkeypatch)
    assert (settings.distributed_backend, settings.distributed_no_spawn) == ("gloo", True)
    assert (settings.distributed_rank, settings.distributed_world_size) == (3, 4)


def test_one_rank_is_no_distributed_training(monkeypatch):
    assert found(1, {}, monkeypatch).distributed_init_method is None
    alone = {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}
    assert found(1, alone, monkeypatch).distributed_init_method is None
    # Tasks of one SLURM step may be trainings of their own.
    assert found(1, {**SLURM, "SLURM_PROCID": "1"}, monkeypatch).distributed_init_method is None


def test_another_number_of_slurm_tasks_than_ranks_is_an_error(monkeypatch, scontrol):
    with pytest.raises(RankError, match="distributed_world_size=2, but SLURM has started 4 tasks"):
        found(2, {**SLURM, "SLURM_PROCID": "1"}, monkeypatch)


def test_a_node_spawns_all_ranks_unless_it_is_given_how_many_are_its_own():
    settings = settings_of(4)
    assert ranks_here(settings, with_gpus=False) == 4
    settings.distributed_num_procs = 2
    assert ranks_here(settings, with_gpus=False) == 2


def test_the_package_is_named_by_its_full_path_and_another_copy_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)
    common = SimpleNamespace(user_dir=PACKAGE.name)
    launcher._name_this_package(common)
    assert common.user_dir == str(PACKAGE)
    (tmp_path / PACKAGE.name).mkdir()
    with pytest.raises(ValueError, match="is not the mgf_fairseq that is installed"):
        launcher._name_this_package(SimpleNamespace(user_dir=str(tmp_path / PACKAGE.name)))
    for other in (None, "/somebody/elses_plugin"):
        common = SimpleNamespace(user_dir=other)
        launcher._name_this_package(common)
        assert common.user_dir == other
