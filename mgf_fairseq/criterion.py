"""Criterion ``mgf``: the weighted sum of the objectives, normalised over all ranks, and its log.

The last station before fairseq's trainer; holds no parameters and knows no objective by name.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from omegaconf import II
from torch import Tensor

from .distributed import all_reduce_sum
from .model import PretrainingOutput
from .nonfinite import Budget, guilty_rows, say_utterances, zero_of
from .types import EncoderOutput

logger = logging.getLogger(__name__)


@dataclass
class MgfCriterionConfig(FairseqDataclass):
    """The objectives' weights: the one place where they stand."""

    loss_weights: Any = field(
        default_factory=dict, metadata={"help": "objective name -> weight of its mean loss"}
    )
    nonfinite_budget: int = field(
        default=20,
        metadata={
            "help": "updates of the last 1000 that may hold a NaN or an infinity, which is named "
            "and left out; one more stops the training"
        },
    )
    sample_rate: int = II("task.sample_rate")


@register_criterion("mgf", dataclass=MgfCriterionConfig)
class MgfCriterion(FairseqCriterion):
    """Sum ``weight * loss_sum / count`` over objectives, with counts summed over ranks.

    fairseq divides gradients by one ``sample_size``, objectives have a count each; so each is
    scaled here by ``ranks / count`` and ``sample_size`` is 1 per rank that has a batch.
    """

    def __init__(self, cfg: MgfCriterionConfig, task: Any) -> None:
        super().__init__(task)
        self.loss_weights = _weights(cfg.loss_weights or {})
        self.sample_rate = cfg.sample_rate
        self.budget = Budget(cfg.nonfinite_budget)
        self.update = 1  # that the next batch is for; the task says so
        built = set(task.objective_names)
        if built != set(self.loss_weights):
            raise ValueError(
                "criterion.loss_weights must name the objectives that are built: weights are for "
                f"{sorted(self.loss_weights)}, built are {sorted(built)} (model.objectives)"
            )
        if not built:
            raise ValueError(
                "model.objectives is empty, so there is nothing to train; "
                "choose some, such as objectives=all"
            )

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of one batch.

        Returns:
            the loss in nats, to be summed over ranks and divided by the summed sample size; the
            sample size; sums for the log, under the same keys on every rank and step.
        """
        output: PretrainingOutput = model(**sample["net_input"])
        active = int(not sample.get("ignore", False))
        # An objective may read a low level only; yet DDP waits for a gradient of every parameter.
        anchor = output.encoded.context.float().sum() * 0.0
        parts = list(output.objectives.values())
        own = torch.stack([part.count for part in parts] + [parts[0].count.new_ones(())]).float()
        bad = ~torch.stack([part.loss_sum.float() for part in parts] + [anchor]).isfinite()
        totals = all_reduce_sum(torch.cat([own * active, bad.float()]))
        *counts, ranks = totals[: len(own)].unbind()
        counted = self._counted(totals[len(own) :], bad, output, sample)
        loss = anchor if all(counted.values()) else zero_of(model)
        for (name, part), total in zip(output.objectives.items(), counts, strict=True):
            if counted[name]:
                scale = self.loss_weights[name] * ranks / total.clamp(min=1.0)
                loss = loss + part.loss_sum.float() * scale * active
        log = self._logging_output(loss, output, sample, counted)
        # All ranks count the same, so each hands over its share.
        log["num_nonfinite"] = list(counted.values()).count(False) / ranks.clamp(min=1.0)
        return loss, active, {key: value * active for key, value in log.items()}

    def _counted(
        self, everywhere: Tensor, here: Tensor, output: PretrainingOutput, sample: dict[str, Any]
    ) -> dict[str, bool]:
        """Say of each objective whether it counts: on no rank if its loss is not finite on one.

        All ranks leave out the same: the gather of some has a backward that they take together.

        Args:
            everywhere: (K + 1,) how many ranks have it: each objective, then the encoder, whose
                NaN leaves out all.
            here: (K + 1,) bool, whether this rank has.
            output: what the model made.
            sample: the batch.
        """
        if not bool(everywhere.any()):  # the one value that the healthy path reads from the device
            return dict.fromkeys(output.objectives, True)
        names = list(output.objectives)
        *objectives, encoder = (everywhere > 0).tolist()
        counted = {name: not (bad or encoder) for name, bad in zip(names, objectives, strict=True)}
        # What gathers over ranks is not finite on all of them: with a bad encoder somewhere, only
        # the ranks that have it know whose fault it is.
        if bool(here[-1] if encoder else here.any()):
            rows = guilty_rows(output.encoded, sample["net_input"]["source"])
            logger.warning(
                "update %d%s: not finite: %s; %s. Left out of this update on all ranks: %s",
                self.update,
                "" if self.training else ", validation",
                ", ".join(itertools.compress([*names, "encoder"], here.tolist())),
                say_utterances(sample["entries"], rows),
                ", ".join(name for name, counts in counted.items() if not counts),
            )
        if self.training:
            self.budget.spend(self.update)
        return counted

    def _logging_output(
        self,
        loss: Tensor,
        output: PretrainingOutput,
        sample: dict[str, Any],
        counted: dict[str, bool],
    ) -> dict[str, Any]:
        """Collect sums and counts, all of which may be added over ranks and micro-batches."""
        padding_mask = sample["net_input"]["padding_mask"]
        log: dict[str, Any] = {
            "loss": loss.detach(),
            "sample_size": 1,
            "nsentences": len(padding_mask),
            "ntokens": output.encoded.num_frames.sum(),
            "audio_s": (~padding_mask).sum() / self.sample_rate,
            "padding_s": padding_mask.sum() / self.sample_rate,
            "num_skipped": sample["num_skipped"],
            "num_whole": int(all(counted.values())),
        }
        for name, part in output.objectives.items():
            measured = {f"loss_{name}": (part.loss_sum.detach(), part.count)}
            measured |= {f"{name}_{metric}": pair for metric, pair in part.metrics.items()}
            for key, (total, count) in measured.items():
                if not counted[name]:
                    total, count = torch.zeros_like(total), torch.zeros_like(count)
                log[f"sum:{key}"], log[f"count:{key}"] = total, count
        for level, deviation in feature_deviation(output.encoded).items():
            finite = deviation.isfinite()
            log[f"sum:std_{level}"] = torch.where(finite, deviation, 0.0)
            log[f"count:std_{level}"] = finite
        return log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the means of all ranks' sums under ``loss``, ``loss_<objective>``, and so on."""

        sums = [_as_floats(log) for log in logging_outputs]

        def total(key: str) -> float:
            return sum(log.get(key, 0.0) for log in sums)

        # Without a sample (every rank had nothing to read), or where an objective was left out of
        # the sum, the weight is 0: no mean moves.
        size = total("sample_size")
        metrics.log_scalar("loss", total("loss") / max(size, 1), total("num_whole"), round=4)
        for key in (k for k in logging_outputs[0] if k.startswith("sum:")):
            name = key.removeprefix("sum:")
            count = total(f"count:{name}")
            if count > 0:
                metrics.log_scalar(name, total(key) / count, count, round=4)
        seconds, padding = total("audio_s"), total("padding_s")
        share = padding / max(seconds + padding, 1e-9)
        metrics.log_scalar("padding", share, seconds + padding, round=4)
        metrics.log_scalar_sum("skipped", total("num_skipped"), round=0)
        metrics.log_scalar_sum("nonfinite", total("num_nonfinite"), round=0)
        metrics.log_scalar_sum("audio_h", seconds / 3600, round=3)
        metrics.log_speed("audio_s_per_s", seconds, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Sums only, and the same keys everywhere: fairseq may add before it reduces."""
        return True


def _as_floats(log: dict[str, Any]) -> dict[str, float]:
    """Bring a log to the host in one transfer instead of one per value."""
    tensors = {key: value for key, value in log.items() if torch.is_tensor(value)}
    if not tensors:
        return log
    values = torch.stack([value.detach().double().reshape(()) for value in tensors.values()])
    return {**log, **dict(zip(tensors, values.tolist(), strict=True))}


def _weights(mapping: Any) -> dict[str, float]:
    """Check ``criterion.loss_weights``: objective name -> weight."""
    if not isinstance(mapping, Mapping):
        raise ValueError(f"criterion.loss_weights={mapping!r} must map objectives to weights")
    for name, weight in mapping.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ValueError(
                f"criterion.loss_weights.{name}={weight!r} must be a number, finite and not "
                "negative"
            )
    return {str(name): float(weight) for name, weight in mapping.items()}


@torch.no_grad()
def feature_deviation(encoded: EncoderOutput) -> dict[str, Tensor]:
    """Measure how much each level varies: mean over channels of the deviation over valid frames.

    Near zero means collapse: the encoder says the same whatever it hears.
    """
    levels = {"latents": encoded.latents, "context": encoded.context}
    levels |= {f"layer{number}": x for number, x in enumerate(encoded.hidden_states)}
    share = ~encoded.padding_mask[..., None] / encoded.num_frames.sum()  # (B, T, 1), sums to 1
    return {name: _deviation(x.float(), share) for name, x in levels.items()}


def _deviation(x: Tensor, share: Tensor) -> Tensor:
    """Mean over channels of the standard deviation of (B, T, D) under weights (B, T, 1)."""
    mean = (x * share).sum(dim=(0, 1))
    return ((x - mean).square() * share).sum(dim=(0, 1)).sqrt().mean()
