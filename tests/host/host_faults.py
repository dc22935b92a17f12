"""What the unpatched host does wrong: one function per patch; here registry, numbers and ranks.

Each returns whether the host shows the fault now. test_patches.py runs all of them.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import pytest
import torch
import torch.distributed as dist
from fairseq import optim
from fairseq.data import Dictionary
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.models import distributed_fairseq_model
from fairseq.optim.adam import Adam, FairseqAdamConfig
from fairseq.optim.amp_optimizer import AMPOptimizer
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from mgf_fairseq.host import collectives, launcher
from mgf_fairseq.host.patches import apply_patches

Shows = Callable[[Path, pytest.MonkeyPatch], bool]
FAULTS: dict[str, Shows] = {}  # name of a patch -> whether the host shows the fault now
apply_patches()


def fault_of(*names: str) -> Callable[[Shows], Shows]:
    def register(shows: Shows) -> Shows:
        FAULTS.update(dict.fromkeys(names, shows))
        return shows

    return register


@fault_of("torch.serialization:safe_globals")
def _a_dictionary_is_not_loaded(folder, monkeypatch) -> bool:
    torch.save({"dictionary": Dictionary(), "args": Namespace()}, folder / "checkpoint.pt")
    try:
        torch.load(folder / "checkpoint.pt")
    except Exception as error:  # noqa: BLE001 (torch raises pickle's error)
        return "weights_only" in str(error).lower()
    return False


@fault_of(
    "fairseq.data.dictionary:Dictionary.pad_index", "fairseq.data.dictionary:Dictionary.eos_index"
)
def _a_dictionary_without_special_symbols_has_no_pad_or_eos(folder, monkeypatch) -> bool:
    (folder / "dict.txt").write_text("happy 1\nsad 1\n")
    dictionary = Dictionary.load(str(folder / "dict.txt"), add_special_symbols=False)
    try:
        return dictionary.pad() != -100 or dictionary.eos() != -100
    except AttributeError:
        return True


@fault_of("fairseq.logging.metrics:load_state_dict")
def _a_sum_over_a_training_ends_when_it_is_resumed(folder, monkeypatch) -> bool:
    metrics.reset()
    metrics.log_scalar_sum("audio_h", 1.0)
    metrics.load_state_dict(metrics.state_dict())
    metrics.log_scalar_sum("audio_h", 1.0)
    saved = {name: state for _, name, _, state in metrics.state_dict()["default"]}
    metrics.reset()
    return saved["audio_h"]["sum"] != 2.0


@fault_of("fairseq.logging.metrics:_active_aggregators_cnt")
def _metrics_remember_aggregations_that_are_over(folder, monkeypatch) -> bool:
    metrics.reset()
    with metrics.aggregate("outer") as outer:
        for value in range(50):
            with metrics.aggregate():
                metrics.log_scalar("x", value)
            with metrics.aggregate(new_root=True):
                metrics.log_scalar("y", value)
        counts = dict(metrics._active_aggregators_cnt)
        assert counts["default"] == counts["outer"] == 1
    assert outer["x"].count == 50 and "y" not in outer
    remembered = len(metrics._active_aggregators_cnt)
    metrics.reset()
    return remembered > 1


def steps(gradients: list[float], scale: float | None) -> list[float]:
    """The weight after each update, from 1.0, under ``common.amp`` at a loss scale or without."""
    weight = torch.nn.Parameter(torch.ones(1))
    config = OmegaConf.create(
        {
            "common": {"fp16_init_scale": scale, "min_loss_scale": 1e-4, "tpu": False},
            "optimizer": {**vars(FairseqAdamConfig()), "_name": "adam"},
            "optimization": {"lr": [0.1], "use_bmuf": False},
        }
    )
    optimizer = optim.build_optimizer(config.optimizer, [weight])
    if scale is not None:
        optimizer = AMPOptimizer(config, [weight], optimizer)
        # fairseq's own is CUDA's, which does nothing on a CPU.
        optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    seen = []
    for gradient in gradients:
        optimizer.zero_grad()
        optimizer.backward((weight * gradient).sum())
        optimizer.clip_grad_norm(0.0)
        optimizer.step()
        seen.append(weight.item())
    return seen


@fault_of("fairseq.optim.amp_optimizer:AMPOptimizer.step")
def _amp_steps_otherwise_than_without_a_loss_scale(folder, monkeypatch) -> bool:
    gradients = [1e-6, -3e-6, 2e-6]
    expected = pytest.approx(steps(gradients, None), rel=1e-5)
    return any(steps(gradients, scale) != expected for scale in (1.0, 128.0, 2.0**20))


@fault_of("fairseq.optim.adam:Adam.step")
def _a_step_of_adam_has_operations_for_each_parameter(folder, monkeypatch) -> bool:
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(20)]
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    optimizer = Adam(parameters)
    optimizer.step()
    made = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            made.append(func)
            return func(*args, **(kwargs or {}))

    with Operations():
        optimizer.step()
    return sum("detach" not in str(func) for func in made) > len(parameters)


@contextmanager
def one_rank(**settings: Any) -> Iterator[Any]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, **settings)
    try:
        yield dist.group.WORLD
    finally:
        dist.destroy_process_group()


@fault_of("fairseq.distributed.utils:_broadcast_object_slow")
def _another_rank_cannot_unpack_what_rank_0_sends(folder, monkeypatch) -> bool:
    sent = {"model": distributed_utils._TensorPlaceholder(index=0)}
    torch.save(sent, folder / "sent")
    content = (folder / "sent").read_bytes()

    def receive(tensor: torch.Tensor, src: int, group: Any) -> None:
        if tensor.dtype == torch.long:
            tensor.fill_(len(content))
        else:
            tensor.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def receive_list(box: list[Any], **_: Any) -> None:
        box[0] = sent

    monkeypatch.setattr(distributed_utils, "get_rank", lambda group: 1)
    monkeypatch.setattr(distributed_utils, "broadcast", receive)
    monkeypatch.setattr(dist, "broadcast_object_list", receive_list)
    try:
        got = distributed_utils._broadcast_object_slow(None, 0, None, torch.device("cpu"))
    except Exception as error:  # noqa: BLE001 (torch raises pickle's error)
        return "weights_only" in str(error).lower()
    assert got == sent
    return False


@fault_of("fairseq.models.distributed_fairseq_model:DistributedDataParallel")
def _ddp_refuses_a_model_on_the_cpu(folder, monkeypatch) -> bool:
    wrap = distributed_fairseq_model.DistributedDataParallel
    with one_rank() as group:
        try:
            wrap(torch.nn.Linear(1, 1), device_ids=[0], output_device=0, process_group=group)
        except ValueError as error:
            return "device_ids" in str(error)
    return False


@fault_of("fairseq.distributed.utils:call_main")
def _two_ranks_need_gpus(folder, monkeypatch) -> bool:
    started = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launcher, "_look", lambda cfg: None)
    monkeypatch.setattr(launcher, "_spawn", lambda *given: started.append(given[-1]))
    settings = SimpleNamespace(
        distributed_backend="nccl",
        distributed_init_method=None,
        distributed_world_size=2,
        distributed_num_procs=1,
        distributed_port=-1,
        distributed_rank=0,
        distributed_no_spawn=False,
        pipeline_model_parallel=False,
        device_id=0,
        tpu=False,
    )
    for name in ("MASTER_ADDR", "RANK", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    common = SimpleNamespace(tpu=False, cpu=True)
    cfg = SimpleNamespace(distributed_training=settings, common=common)
    try:
        distributed_utils.call_main(cfg, main=None)
    except (AssertionError, ZeroDivisionError):
        return True
    return started != [2]


def timeout_of(group: Any) -> timedelta:
    found: timedelta = group._get_backend(torch.device("cpu")).options._timeout
    return found


@fault_of("torch.distributed:init_process_group")
def _the_first_group_waits_for_as_long_as_torch_likes(folder, monkeypatch) -> bool:
    with collectives.patient_collectives(1000.0), one_rank() as group:
        return timeout_of(group).total_seconds() != 1000.0 + collectives.MARGIN_S


@fault_of("torch.distributed:new_group")
def _further_groups_wait_for_as_long_as_torch_likes(folder, monkeypatch) -> bool:
    with one_rank(timeout=timedelta(seconds=5)), collectives.patient_collectives(1000.0):
        group = dist.new_group([0])
        return timeout_of(group).total_seconds() != 1000.0 + collectives.MARGIN_S
