"""Every part of the host (fairseq and torch) that is replaced, with the reason; nothing else is.

The plugin applies the table when fairseq loads it, so every process with ``common.user_dir`` has
it. tests/host/test_patches.py shows what the unpatched host does; when a newer host no longer
does it, the test fails and the entry can be removed.

Two objects of the host that a task owns are changed as objects, for this training alone, and so
have no entry: the optimizer's ``clip_grad_norm`` (monitoring/gradient_guard.py looks at the norm
there; fairseq hands the optimizer to the task) and the class of the batch iterator (the task's
``get_batch_iterator`` returns it, and host/iterators.py has subclasses that fairseq's own method,
which names its class, cannot make). fairseq as others use it in the same process is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..checkpoints.reading import SAFE_CLASSES
from . import adam, checkpointing, collectives, launcher, patching, preemption, replacements, saving
from .patching import Patch, Undo, replacing
from .trainer_hooks import ending_all, reporting

IGNORED_INDEX = -100  # torch.nn.functional.nll_loss, ignore_index

TORCH_LOAD = "fairseq calls torch.load for trusted files, or the class is safe in torch"
OWN_FEATURE = "this package drops the feature, or fairseq offers it"


def _patch(
    name: str, make: Callable[[Any], Any], reason: str, until: str, only_if_imported: bool = False
) -> Patch:
    return Patch(name, reason, until, replacing(name, make, only_if_imported))


def _as(part: Any) -> Callable[[Any], Any]:
    """Use this part, whatever the host's own is; what it calls of the host it has imported."""
    return lambda _: part


def _allow_safe_classes() -> Undo:
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(list(SAFE_CLASSES))

    def undo() -> None:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)

    return undo


_FAULTS = (
    Patch(
        "torch.serialization:safe_globals",
        "A fine-tuning checkpoint holds its Dictionary, and an old one a Namespace. torch >= 2.6 "
        "refuses both, so a fine-tuning run cannot be resumed. Both classes are plain data.",
        TORCH_LOAD,
        _allow_safe_classes,
    ),
    *(
        _patch(
            f"fairseq.data.dictionary:Dictionary.{name}",
            _as(IGNORED_INDEX),
            "audio_classification loads its dictionary without special symbols and then asks for "
            "pad and eos. Such a dictionary now returns an index that losses ignore; "
            "dictionaries with special symbols have their own.",
            "audio_classification no longer asks, or its dictionary has the symbols",
        )
        for name in ("pad_index", "eos_index")
    ),
    _patch(
        "fairseq.distributed.utils:_broadcast_object_slow",
        _as(replacements.broadcast_object),
        "Rank 0 sends the others what it has read of a checkpoint, which they unpack with "
        "torch.load. torch >= 2.6 refuses that, so a run of several ranks cannot be resumed.",
        "fairseq sends objects by torch.distributed.broadcast_object_list",
    ),
    _patch(
        "fairseq.logging.metrics:_active_aggregators_cnt",
        replacements.Counts,
        "Metrics keep the name of every aggregation there was, one or two per update, with a "
        "count of 0, so memory grows.",
        "fairseq deletes names whose count is 0",
    ),
    _patch(
        "fairseq.logging.metrics:load_state_dict",
        replacements.loading_active_meters,
        "Resuming loads the meters into copies that get no numbers any more, and saves the "
        "copies. Sums over a training, such as its hours of audio, end with the first resume.",
        "fairseq loads into the meters that are active",
    ),
    _patch(
        "fairseq.models.distributed_fairseq_model:DistributedDataParallel",
        _as(replacements.data_parallel),
        "The default back end c10d gives DDP the number of a GPU, which DDP refuses for a model "
        "on the CPU.",
        "fairseq gives no device for a model on the CPU",
    ),
    _patch(
        "fairseq.optim.amp_optimizer:AMPOptimizer.step",
        _as(replacements.amp_step),
        "Under common.amp fairseq unscales the gradients of the inner optimizer and lets the "
        "scaler step the outer one. The scaler does not know that one, and divides by the loss "
        "scale a second time.",
        "fairseq unscales and steps the same optimizer",
    ),
)

_SPEED = (
    _patch(
        "fairseq.optim.adam:Adam.step",
        adam.fused,
        "Adam's step is a loop of Python over the parameters, six operations for each: 3 to 4 "
        "times as slow on a CPU as one operation over all, and on a GPU a wait for Python.",
        "fairseq takes torch's fused Adam without apex",
    ),
)

_CHECKPOINTS = (
    _patch(
        "fairseq.file_io:PathManager.copy",
        _as(staticmethod(saving.copy)),
        "A copy that is interrupted leaves half a file under the final name.",
        "fairseq copies to another name and renames",
    ),
    _patch(
        "fairseq.checkpoint_utils:torch_persistent_save",
        _as(saving.torch_persistent_save),
        "A failed save writes the next try into the same open file, logs the last failure and "
        "returns as if it had saved; nothing is verified.",
        "fairseq verifies what it writes and raises an error",
    ),
    _patch(
        "fairseq.checkpoint_utils:save_checkpoint",
        _as(saving.save_checkpoint),
        "One failed save (a full disk) ends the training; it should continue and save later.",
        OWN_FEATURE,
    ),
    _patch(
        "fairseq.checkpoint_utils:load_checkpoint_to_cpu",
        _as(checkpointing.load_checkpoint_to_cpu),
        "A checkpoint with a changed byte is read without an error, and the state of the task, "
        "which fairseq saves, is not given back when training resumes.",
        "fairseq verifies the checksums and returns the state of the task",
    ),
    _patch(
        "fairseq.checkpoint_utils:load_checkpoint",
        _as(checkpointing.load_checkpoint),
        "A broken last checkpoint ends the run although older whole ones are there, and a command "
        "with other settings than the checkpoint's resumes without a word.",
        OWN_FEATURE,
    ),
)

_LAUNCH = (
    _patch(
        "fairseq.distributed.utils:call_main",
        _as(launcher.call_main),
        "Several ranks need GPUs: on the CPU fairseq divides by zero GPUs or starts one rank. "
        "It does not know submitit, and settings that cannot work fail late.",
        "fairseq starts ranks on the CPU and checks the settings first",
    ),
    *(
        _patch(
            f"torch.distributed:{name}",
            collectives.with_timeout,
            "fairseq makes process groups with torch's default timeout, whatever "
            "distributed_training.heartbeat_timeout is, so a long validation ends all ranks.",
            "fairseq passes a timeout",
        )
        for name in ("init_process_group", "new_group")
    ),
)

_PHASE = "The heartbeat names the phase of each rank when a rank fails, dies or is stuck."
_TRAINER = (
    _patch(
        "fairseq.trainer:Trainer.train_step",
        reporting("update {}", "the wait for data after update {}", ahead=1),
        _PHASE,
        OWN_FEATURE,
    ),
    _patch(
        "fairseq.trainer:Trainer.valid_step",
        reporting("validation after update {}", "validation's wait for data, update {}"),
        _PHASE,
        OWN_FEATURE,
    ),
    _patch(
        "fairseq.trainer:Trainer.save_checkpoint",
        reporting("saving update {}"),
        _PHASE,
        OWN_FEATURE,
    ),
    _patch(
        "fairseq.trainer:Trainer.state_dict",
        saving.with_sources,
        "A checkpoint does not say which data it was trained on, so changed data go unnoticed "
        "when training resumes.",
        OWN_FEATURE,
    ),
    _patch(
        "fairseq.trainer:Trainer._log_oom",
        ending_all,
        "A rank without memory for a batch skips it, while the others wait for its sums for ever.",
        "fairseq skips such a batch on all ranks alike",
    ),
)

_PREEMPTION = (
    _patch(
        "fairseq_cli.train:validate_and_save",
        preemption.stopping,
        "SIGTERM ends a training at once, and what it did since the last checkpoint is lost.",
        OWN_FEATURE,
        only_if_imported=True,  # importing it configures logging
    ),
    _patch(
        "torch.utils.data:DataLoader.__init__",
        preemption.with_patient_workers,
        "SIGTERM to a whole job ends the workers first, so the update in progress fails instead "
        "of being saved.",
        OWN_FEATURE,
    ),
)

PATCHES: tuple[Patch, ...] = (*_FAULTS, *_SPEED, *_CHECKPOINTS, *_LAUNCH, *_TRAINER, *_PREEMPTION)


def apply_patches() -> None:
    """Apply the table; a second call changes nothing."""
    patching.apply(PATCHES)
