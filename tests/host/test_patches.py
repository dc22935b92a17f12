"""What the host does without each patch, and not with it: one fault per entry of the table.

If the unpatched host no longer has a fault, its test fails and the entry can be removed.
"""

from __future__ import annotations

import math
import resource
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import fairseq_cli.train  # noqa: F401 (its patch waits for it)
import pytest
import torch
import torch.distributed as dist
from fairseq import checkpoint_utils, optim
from fairseq.data import Dictionary
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.logging import metrics
from fairseq.models import distributed_fairseq_model
from fairseq.optim.adam import Adam, FairseqAdamConfig
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from mgf_fairseq.host import (
    checkpointing,
    collectives,
    heartbeat,
    launcher,
    patches,
    preemption,
    saving,
    trainer_hooks,
)
from mgf_fairseq.host.heartbeat import Heartbeat
from mgf_fairseq.host.heartbeat_store import START, BeatStore
from mgf_fairseq.host.patches import PATCHES, apply_patches
from mgf_fairseq.host.patching import Patch, unpatched

Shows = Callable[[Path, pytest.MonkeyPatch], bool]
FAULTS: dict[str, Shows] = {}  # name of a patch -> whether the host shows the fault now
apply_patches()


def fault_of(*names: str) -> Callable[[Shows], Shows]:
    def register(shows: Shows) -> Shows:
        FAULTS.update(dict.fromkeys(names, shows))
        return shows

    return register


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_the_host_has_the_fault_without_the_patch_and_not_with_it(patch: Patch, tmp_path):
    shows = FAULTS[patch.name]
    for name in ("patched", "unpatched"):
        (tmp_path / name).mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch, unpatched(patch):
        assert shows(tmp_path / "unpatched", monkeypatch), "the entry can be removed"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert not shows(tmp_path / "patched", monkeypatch)


def test_every_fault_has_an_entry_and_every_entry_a_reason_and_an_end():
    assert FAULTS.keys() == {patch.name for patch in PATCHES}
    assert len({patch.name for patch in PATCHES}) == len(PATCHES)
    assert all(patch.reason and patch.until for patch in PATCHES)


def test_a_second_application_changes_nothing():
    before = Trainer.train_step, checkpoint_utils.save_checkpoint, DataLoader.__init__
    apply_patches()
    assert before == (Trainer.train_step, checkpoint_utils.save_checkpoint, DataLoader.__init__)


def test_a_patch_waits_for_its_module_to_be_imported(monkeypatch):
    name = "fairseq_cli.train:validate_and_save"
    (patch,) = (patch for patch in PATCHES if patch.name == name)
    module = sys.modules["fairseq_cli.train"]
    with unpatched(patch):
        own = module.validate_and_save
        monkeypatch.delitem(sys.modules, "fairseq_cli.train")
        apply_patches()
        assert module.validate_and_save is own
        monkeypatch.undo()
        patches.patching.apply_waiting()
        assert module.validate_and_save.__wrapped__ is own


# ---- classes and numbers


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


def test_amp_skips_an_overflow_and_lowers_its_scale():
    first, second = steps([math.inf, 1.0], 128.0)
    assert first == 1.0 and second < 1.0


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


# ---- ranks


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


# ---- checkpoints


@contextmanager
def little_room(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@fault_of("fairseq.file_io:PathManager.copy")
def _a_copy_that_fails_leaves_half_a_file(folder, monkeypatch) -> bool:
    source, copy = folder / "checkpoint_1_2.pt", folder / "checkpoint_last.pt"
    torch.save({"model": {"weight": torch.zeros(100_000)}}, source)
    copy.write_bytes(b"the older one")
    with little_room(50_000), suppress(OSError, checkpointing.CheckpointError):
        PathManager.copy(str(source), str(copy), overwrite=True)
    return copy.read_bytes() != b"the older one"


@fault_of("fairseq.checkpoint_utils:torch_persistent_save")
def _a_save_that_succeeds_after_half_a_one_cannot_be_read(folder, monkeypatch) -> bool:
    path, tries = folder / "checkpoint.pt", []
    save = torch.save

    def fails_once(state: Any, file: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            file.write(b"half a checkpoint") if hasattr(file, "write") else None
            raise OSError("no room")
        save(state, file)

    monkeypatch.setattr(torch, "save", fails_once)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    try:
        checkpoint_utils.torch_persistent_save({"model": {"w": torch.ones(3)}}, str(path))
    except (OSError, checkpointing.CheckpointError):
        return path.exists()
    with suppress(Exception):  # whatever torch makes of it
        torch.load(path)
        return False
    return True


@fault_of("fairseq.checkpoint_utils:save_checkpoint")
def _a_save_that_fails_ends_the_training(folder, monkeypatch) -> bool:
    trainer = MagicMock(data_parallel_rank=0, checkpoint_suffix="", unsaved=None)
    trainer.get_num_updates.return_value = 5
    trainer.save_checkpoint.side_effect = checkpointing.CheckpointError("no room")
    trainer.task = SimpleNamespace()
    epoch = MagicMock(epoch=1)
    try:
        cfg = CheckpointConfig(save_dir=str(folder))
        checkpoint_utils.save_checkpoint(cfg, trainer, epoch, None)
    except checkpointing.CheckpointError:
        return True
    assert trainer.unsaved == "no room"
    return False


def checkpoint(path: Path, updates: int) -> Path:
    history = [{"num_updates": updates, "lr_scheduler_state": {}}]
    state = {
        "args": None,
        "cfg": {},
        "model": {"weight": torch.full((1000,), float(updates))},
        "optimizer_history": history,
        "extra_state": {"epoch": 1},
        "task_state": {"balance": 1},
    }
    torch.save(state, path)
    return path


def break_tensor(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((1000,), 5.0).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


@fault_of("fairseq.checkpoint_utils:load_checkpoint_to_cpu")
def _a_changed_checkpoint_is_read_and_the_state_of_the_task_is_not(folder, monkeypatch) -> bool:
    path = checkpoint(folder / "checkpoint.pt", 5)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    has_task = "task_state" in state["extra_state"]
    break_tensor(path)
    try:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    except checkpointing.CheckpointError:
        return not has_task
    assert not has_task
    return True


@fault_of("fairseq.checkpoint_utils:load_checkpoint")
def _a_broken_last_checkpoint_ends_the_run_though_an_older_one_is_whole(
    folder, monkeypatch
) -> bool:
    for name in ("look_before_start", "require_best_metric", "say_batch", "listen"):
        monkeypatch.setattr(checkpointing, name, lambda *_: None)
    checkpoint(folder / "checkpoint_1_4.pt", 4)
    break_tensor(checkpoint(folder / "checkpoint_last.pt", 5))
    trainer = MagicMock(checkpoint_suffix="", is_data_parallel_master=True, is_fsdp=False)
    trainer.device, trainer.task = torch.device("cpu"), SimpleNamespace()
    trainer.cfg = SimpleNamespace(optimization=SimpleNamespace(max_update=0))
    trainer.get_num_updates.return_value = 5
    trainer.get_model.return_value = torch.nn.Identity()
    read = []

    def load(path: str, *_: Any, **__: Any) -> None:
        read.append(checkpoint_utils.load_checkpoint_to_cpu(path)["optimizer_history"])

    trainer.load_checkpoint = load
    try:
        checkpoint_utils.load_checkpoint(CheckpointConfig(save_dir=str(folder)), trainer)
    except checkpointing.CheckpointError:
        return True
    return read[0][-1]["num_updates"] != 4


# ---- the trainer


@pytest.fixture
def beating(monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    return _beating(monkeypatch)


def _beating(monkeypatch: pytest.MonkeyPatch) -> Heartbeat:
    running = Heartbeat(BeatStore(dist.HashStore(), 0, 2), patience_s=0.0)
    monkeypatch.setattr(heartbeat, "_running", running)
    return running


PHASES = {
    "train_step": "update 5",
    "valid_step": "validation after update 4",
    "save_checkpoint": "saving update 4",
}


def _names_no_phase(method: str) -> Shows:
    def shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
        running = _beating(monkeypatch)
        stub = SimpleNamespace(get_num_updates=lambda: 4)
        with suppress(AttributeError):  # the stub has nothing of what the method needs
            getattr(Trainer, method)(stub, None, None)
        assert running.phase in (START, PHASES[method])
        return running.phase == START

    return shows


for _method in PHASES:
    fault_of(f"fairseq.trainer:Trainer.{_method}")(_names_no_phase(_method))


def test_after_a_step_the_trainer_waits_for_data_and_after_a_save_is_where_it_was(beating):
    trainer = SimpleNamespace(get_num_updates=lambda: 4)
    step = trainer_hooks.reporting("update {}", "the wait after {}", ahead=1)(lambda self: 7)
    assert step(trainer) == 7 and beating.phase == "the wait after 4"
    save = trainer_hooks.reporting("saving update {}")(lambda self: beating.phase)
    assert save(trainer) == "saving update 4" and beating.phase == "the wait after 4"


@fault_of("fairseq.trainer:Trainer.state_dict")
def _a_checkpoint_does_not_note_its_data(folder, monkeypatch) -> bool:
    trainer = MagicMock(sources={"train.tsv": "1234"}, _optim_history=[], cfg=MagicMock())
    state = Trainer.state_dict(trainer)
    assert "task_state" in state
    return state.get(saving.SOURCES_KEY) != {"train.tsv": "1234"}


@fault_of("fairseq.trainer:Trainer._log_oom")
def _a_rank_without_memory_only_logs_it(folder, monkeypatch) -> bool:
    monkeypatch.setattr(trainer_hooks, "is_distributed", lambda: True)
    try:
        Trainer._log_oom(SimpleNamespace(), RuntimeError("CUDA out of memory"))
    except trainer_hooks.RankError:
        return False
    return True


# ---- SIGTERM


@fault_of("fairseq_cli.train:validate_and_save")
def _a_request_to_stop_is_not_seen_between_updates(folder, monkeypatch) -> bool:
    saved = []
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", lambda *_: saved.append(1))
    monkeypatch.setattr(preemption.request, "received_at", time.monotonic())
    monkeypatch.setattr(preemption.request, "number", signal.SIGTERM)
    cfg = SimpleNamespace(
        optimization=SimpleNamespace(max_update=0, max_epoch=0, stop_time_hours=0),
        checkpoint=CheckpointConfig(patience=-1),
        dataset=SimpleNamespace(
            validate_after_updates=0, validate_interval_updates=0, disable_validation=True
        ),
    )
    trainer = MagicMock(device=torch.device("cpu"), unsaved=None)
    trainer.get_num_updates.return_value = 3
    trainer.cumulative_training_time.return_value = 1.0
    train = sys.modules["fairseq_cli.train"]
    try:
        train.validate_and_save(cfg, trainer, None, MagicMock(), ["valid"], False)
    except SystemExit as stop:
        assert stop.code == preemption.EXIT_CODE and saved
        return False
    return not saved


@fault_of("torch.utils.data:DataLoader.__init__")
def _workers_end_by_the_sigterm_of_a_whole_job(folder, monkeypatch) -> bool:
    monkeypatch.setattr(preemption.request, "replaced", {signal.SIGTERM: signal.SIG_DFL})
    batches = iter(DataLoader(list(range(8)), batch_size=1, num_workers=1, prefetch_factor=1))  # type: ignore[arg-type]
    found = [int(next(batches))]
    (worker,) = batches._workers  # type: ignore[attr-defined]
    worker.terminate()
    try:
        found += map(int, batches)
    except (RuntimeError, OSError, EOFError):  # by where the worker was
        return True
    finally:
        worker.kill()
    return found != list(range(8))
