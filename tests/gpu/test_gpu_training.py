"""A few updates of pre-training per precision, in one process and through a group of one rank."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny
from trainings import Training, Trainings

from mgf_fairseq.host.ranks import free_port

# What fairseq and our task take for each; fairseq scales losses on a GPU only.
PRECISIONS = {
    "fp32": ["++task.autocast=none"],
    "bf16 autocast": ["++task.autocast=bf16"],
    "amp": ["++task.autocast=none", "common.amp=true"],
    "fp16 weights": ["++task.autocast=none", "common.fp16=true"],
}
ON_CPU = ("fp32", "bf16 autocast")


@pytest.fixture
def arguments(
    device: str, corpus: Path, user_dir: str, pretrain_configs: Path, tmp_path: Path
) -> list[str]:
    """Three updates of the debug recipe, each logged."""
    return [
        *("--config-dir", str(pretrain_configs), "--config-name", "mgf_debug"),
        *(f"task.data={corpus}", f"common.user_dir={user_dir}"),
        *(f"checkpoint.save_dir={tmp_path}", "common.tensorboard_logdir=null"),
        *("optimization.max_update=3", "common.log_interval=1", "dataset.num_workers=0"),
        *("dataset.max_tokens=100000", "dataset.disable_validation=true"),
        *("checkpoint.no_save=true", f"run={'cpu' if device == 'cpu' else 'gpu_1'}"),
    ]


def require_finite_losses(training: Training) -> None:
    """It has made its three updates, and each of the four objectives had finite losses."""
    assert training.exit_code() == 0, training.output()[-3000:]
    updates = training.updates()
    assert max(updates) == 3, training.output()[-3000:]
    words = [word.split() for update in updates.values() for word in update]
    # None: in this update all rows were too short for the objective.
    found = [(name, float(value)) for name, value in words if value != "None"]
    assert {f"loss_{name}" for name in tiny.OBJECTIVES} <= {name for name, _ in found}
    assert all(math.isfinite(value) for name, value in found if name.startswith("loss"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pre_training_has_finite_losses_in_each_precision(
    precision: str, device: str, arguments: list[str], trainings: Trainings
) -> None:
    if device == "cpu" and precision not in ON_CPU:
        pytest.skip("needs a GPU")
    require_finite_losses(trainings.start([*arguments, *PRECISIONS[precision]]))


def test_one_rank_trains_through_nccl_or_on_a_cpu_gloo(
    device: str, arguments: list[str], trainings: Trainings
) -> None:
    group = {
        "distributed_init_method": f"tcp://127.0.0.1:{free_port()}",
        "distributed_world_size": 1,
        "distributed_no_spawn": "true",
    }
    settings = [f"distributed_training.{name}={value}" for name, value in group.items()]
    training = trainings.start([*arguments, *PRECISIONS["fp32"], *settings])
    require_finite_losses(training)
    assert "as rank 0" in training.output()  # fairseq's line once the group is there
    assert f"'distributed_backend': '{'gloo' if device == 'cpu' else 'nccl'}'" in training.output()
