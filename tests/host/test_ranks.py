"""Which rank this is, by the environment of each launcher."""

from __future__ import annotations

import pytest
from launched import SLURM, TORCHRUN

from mgf_fairseq.host.ranks import Place, place_among_ranks, slurm_task
from mgf_fairseq.utils.distributed import RankError


def test_torchrun_says_which_rank_this_is():
    assert place_among_ranks(TORCHRUN) == Place(3, 4, "env://")
    assert place_among_ranks({**TORCHRUN, **SLURM}) == Place(3, 4, "env://")
    assert place_among_ranks({}) is None


def test_the_local_executor_of_submitit_does_and_its_ranks_meet_at_one_port():
    ids = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "5", "SUBMITIT_LOCAL_NTASKS": "2"}
    places = [place_among_ranks({**ids, "SUBMITIT_LOCAL_GLOBALID": str(r)}) for r in range(2)]
    assert [place and (place.rank, place.world_size) for place in places] == [(0, 2), (1, 2)]
    assert len({place and place.init_method for place in places}) == 1


def test_tasks_of_slurm_meet_on_the_first_node(scontrol):
    task = slurm_task({**SLURM, "SLURM_PROCID": "2"}, port=9)
    assert task == Place(2, 4, "tcp://127.0.0.1:9")
    assert slurm_task({**SLURM, "SLURM_PROCID": "0"}, 0) == slurm_task(
        {**SLURM, "SLURM_PROCID": "0"}, -1
    )
    assert slurm_task(SLURM, port=9) is None  # in the job's script, outside srun


def test_a_slurm_without_scontrol_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RankError, match="scontrol is not in PATH"):
        slurm_task({**SLURM, "SLURM_PROCID": "0"}, port=9)


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo slurm_load_node: refused >&2; exit 1", "slurm_load_node: refused"), ("", "no names")],
)
def test_a_scontrol_that_names_no_node_is_quoted(monkeypatch, tmp_path, script, said):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n{script}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RankError, match=f"^scontrol show hostnames .*: .*{said}"):
        slurm_task({**SLURM, "SLURM_PROCID": "0"}, port=9)
