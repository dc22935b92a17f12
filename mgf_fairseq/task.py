"""Task ``mgf_pretraining``: manifests to datasets, under the settings that checkpoints carry.

Owns no tensors; fine-tuning builds it again from a checkpoint to build the model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq.logging import metrics
from fairseq.tasks import FairseqTask, register_task

from .checkpoints.pretraining_data import note_training_data
from .data.augment.augmenter import build_augmenter
from .data.config import MgfPretrainingConfig, require_valid
from .data.crops import Crops
from .data.dataset import MgfDataset
from .data.entries import ManifestError
from .data.loading import load_split
from .data.mixture import Rows, parse_corpora
from .encoder.compilation import Compilation, as_written
from .host.heartbeat import moved
from .host.iterators import MgfBatchIterator, StepClock, log_data_wait
from .host.recorders import ReconstructionRecorder
from .monitoring.gradient_guard import (
    GradientGuard,
    explain_gradient,
    parameters_not_finite,
    unwrapped,
)
from .monitoring.live import LiveHealth
from .objectives.unknown import without_unknown
from .utils.autocast import in_autocast
from .utils.distributed import (
    fingerprint,
    is_first_rank,
    ranks_on_this_machine,
    require_alike,
)

logger = logging.getLogger(__name__)

BALANCE = "gradient_balance"  # in the task's state


@register_task("mgf_pretraining", dataclass=MgfPretrainingConfig)
class MgfPretrainingTask(FairseqTask):
    """Pre-training on raw audio."""

    cfg: MgfPretrainingConfig
    notes_training_data = True  # in `state`, and so in checkpoints

    def __init__(self, cfg: MgfPretrainingConfig) -> None:
        super().__init__(cfg)
        require_valid(cfg)
        self.corpora = parse_corpora(cfg.corpora or {})
        self.objective_names: tuple[str, ...] = ()
        self.objective_parts: dict[str, tuple[str, ...]] = {}  # that get a share of the gradient
        self.criterion: Any = None  # ours, once it is built
        self.model_fingerprint = 0, 0  # parameters, and a checksum of their names and shapes
        self.clock = StepClock()
        self.guard = GradientGuard()
        self.live_health = LiveHealth(cfg.log_interval)
        self.recorder = ReconstructionRecorder()
        self.compilation = Compilation() if cfg.compile != "none" else None

    @classmethod
    def setup_task(cls, cfg: MgfPretrainingConfig, **_: Any) -> MgfPretrainingTask:
        """Build the task as fairseq asks for it."""
        return cls(cfg)

    def load_dataset(self, split: str, **_: Any) -> None:
        """Read ``<data>/<split>.tsv``, or those of `corpora` below it.

        Raises:
            ManifestError: a manifest is missing, malformed or without a long enough utterance.
            ValueError: the audio is not where the manifest says, or does not fit into `cache`.
        """
        cfg, trained = self.cfg, split == self.cfg.train_subset
        shared: dict[str, Any] = {
            name: getattr(cfg, name) for name in ("sample_rate", "normalize", "seed")
        }
        augmenter = build_augmenter(cfg.augment, **shared) if trained else None
        crops = Crops(cfg.views, cfg.max_sample_size, cfg.min_sample_size)

        def build(rows: Rows) -> MgfDataset:
            return MgfDataset(
                rows,
                crops,
                **shared,
                shuffle=trained,
                num_buckets=cfg.num_buckets,
                augmenter=augmenter,
                repeat_shapes=trained and cfg.compile != "none",
            )

        dataset = load_split(self.cfg.data, split, self.corpora, build, moved, self.cfg.distinct)
        if cfg.cache != "none":
            dataset.keep_audio(cfg.cache, ranks_on_this_machine())
        self.datasets[split] = dataset
        if dataset.shuffle and is_first_rank():  # which saves the checkpoints
            note_training_data(self.state.state_dict, dataset.manifest)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model and remember which objectives it has, for the criterion's weights."""
        model = super().build_model(
            without_unknown(cfg) if from_checkpoint else cfg, from_checkpoint
        )
        self.objective_names = tuple(model.objectives)
        model.normalized = self.cfg.normalize
        self.objective_parts = {name: part.part_names for name, part in model.objectives.items()}
        self.model_fingerprint = fingerprint(model)
        for name, objective in model.objectives.items():
            if self.cfg.views < objective.min_views:
                raise ValueError(
                    f"objective {name!r} compares {objective.min_views} views of an utterance, "
                    f"but task.views={self.cfg.views}"
                )
        return model

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the criterion; only training does, so the data must be there by now.

        Raises:
            ManifestError: it is not.
            RankError: ranks have built other models than each other.
        """
        number, checksum = self.model_fingerprint
        require_alike(
            "the model's parameters (do all have the same settings?)",
            number=number,
            checksum=checksum,
        )
        if not os.path.isdir(self.cfg.data):
            raise ManifestError(
                f"task.data={self.cfg.data} is no folder; make it with 'mgf prepare AUDIO --dest "
                f"{self.cfg.data}'"
            )
        criterion = super().build_criterion(cfg, from_checkpoint)
        if self.objective_names:  # else it is fairseq's own, see baselines/wav2vec2.py
            self.criterion = criterion
        return criterion

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint must hold of the task: the balance of the objectives."""
        balance = {} if self.criterion is None else self.criterion.balance.state_dict()
        return {**super().state_dict(), BALANCE: balance}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Resume from what :meth:`state_dict` gave; a checkpoint of 0.1.0 has none of it."""
        if self.criterion is not None and BALANCE in state:
            self.criterion.balance.load_state_dict(state[BALANCE])

    def train_step(
        self,
        sample: dict[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
    ) -> Any:
        """Run one step, its forward pass under bf16 autocast if asked for."""
        seconds = self.clock.begin()
        if self.objective_names:  # not those of fairseq's own criterion, see baselines/wav2vec2.py
            criterion.begin_update(update_num + 1)
            self.guard.install(
                optimizer,
                lambda batches: self._explain(unwrapped(model), batches, criterion),
                criterion.balance,
            )
            self.guard.note(sample)
            if self.compilation:
                encoder: Any = unwrapped(model)
                source, rows = (sample["net_input"][key] for key in ("source", "rows"))
                self.compilation.prepare(encoder, rows.num_samples, source.shape[1])
        forward = in_autocast(criterion, self.cfg.autocast)
        loss, sample_size, log = super().train_step(
            sample, model, forward, optimizer, update_num, ignore_grad
        )
        return loss, sample_size, {**log, **seconds}

    def _explain(self, model: Any, batches: Sequence[Mapping[str, Any]], criterion: Any) -> None:
        """Log whose gradient is not finite, and count the update against the budget."""
        where = parameters_not_finite(model)
        explain = in_autocast(explain_gradient, self.cfg.autocast)
        with as_written(self.compilation is not None):
            found = [line for batch in batches for line in explain(model, batch)]
        logger.warning(
            "update %d: the gradient is not finite: %s. Skipped on all ranks (parameters: %s)",
            criterion.update,
            "; ".join(found) or "not by one objective on this rank",
            where,
        )
        criterion.spend_budget()

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Let the optimizer step, unless this update is skipped."""
        skip = self.guard.skips_step()
        if self.criterion is not None:
            if skip:
                self.criterion.skip_update()
            else:
                self.criterion.finish_update()
        if not skip:
            super().optimizer_step(optimizer, model, update_num)

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log what the criterion logs, the wait for data, and what health says of it."""
        super().reduce_metrics(logging_outputs, criterion)
        if not criterion.training:
            return
        self.clock.end()
        log_data_wait(logging_outputs)
        if self.criterion is not None:
            for name, value in self.criterion.balance.numbers().items():
                # The latest cosine, not the mean of what was measured once and repeated.
                metrics.log_scalar(name, value, int(not name.startswith("cosine_")), round=4)
        if skipped := self.guard.take_count():
            metrics.log_scalar_sum("nonfinite", skipped, round=0)
        if self.cfg.health:
            self.live_health.observe()

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Log how healthy the training is, and record a reconstruction, once per validation."""
        if self.cfg.health:
            self.live_health.summarize()
        if self.objective_names:
            with as_written(self.compilation is not None):
                self.recorder.observe(model, self.datasets.values(), self.cfg.sample_rate)

    def valid_step(self, sample: dict[str, Any], model: Any, criterion: Any) -> Any:
        """Validate under the same autocast, without compiled code."""
        with as_written(self.compilation is not None):
            return super().valid_step(sample, model, in_autocast(criterion, self.cfg.autocast))

    def get_batch_iterator(self, *args: Any, **kwargs: Any) -> Any:
        """Make fairseq's iterator, with a dummy batch that counts for nothing."""
        iterator = super().get_batch_iterator(*args, **kwargs)
        # The task's only way in: fairseq names the class inside its own get_batch_iterator.
        iterator.__class__ = MgfBatchIterator
        iterator.clock = self.clock if iterator.dataset.shuffle else None
        return iterator

    def max_positions(self) -> None:
        """Accept any length: crops are cut to ``max_sample_size``."""
