"""Criterion ``mgf``: the weighted sum of the objectives, normalised over all ranks, and its log.

The last station before fairseq's trainer; holds no parameters and knows no objective by name.
"""

from __future__ import annotations

import math
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
from .types import EncoderOutput


@dataclass
class MgfCriterionConfig(FairseqDataclass):
    """The objectives' weights: the one place where they stand."""

    loss_weights: Any = field(
        default_factory=dict, metadata={"help": "objective name -> weight of its mean loss"}
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
        self.loss_weights = {str(k): float(v) for k, v in (cfg.loss_weights or {}).items()}
        self.sample_rate = cfg.sample_rate
        for name, weight in self.loss_weights.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise ValueError(
                    f"criterion.loss_weights.{name}={weight} must be finite and not negative"
                )
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
        counts = [part.count for part in output.objectives.values()]
        own = torch.stack([*counts, counts[0].new_tensor(1.0)]).float() * active
        *totals, ranks = all_reduce_sum(own).unbind()
        # An objective may read a low level only; yet DDP waits for a gradient of every parameter.
        loss = output.encoded.context.float().sum() * 0.0
        for (name, part), total in zip(output.objectives.items(), totals, strict=True):
            scale = self.loss_weights[name] * ranks / total.clamp(min=1.0)
            loss = loss + part.loss_sum.float() * scale * active
        log = self._logging_output(loss, output, sample)
        return loss, active, {key: value * active for key, value in log.items()}

    def _logging_output(
        self, loss: Tensor, output: PretrainingOutput, sample: dict[str, Any]
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
        }
        for name, part in output.objectives.items():
            log[f"sum:loss_{name}"], log[f"count:loss_{name}"] = part.loss_sum.detach(), part.count
            for metric, (total, count) in part.metrics.items():
                log[f"sum:{name}_{metric}"], log[f"count:{name}_{metric}"] = total, count
        for level, deviation in feature_deviation(output.encoded).items():
            log[f"sum:std_{level}"], log[f"count:std_{level}"] = deviation, 1
        return log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the means of all ranks' sums under ``loss``, ``loss_<objective>``, and so on."""

        sums = [_as_floats(log) for log in logging_outputs]

        def total(key: str) -> float:
            return sum(log.get(key, 0.0) for log in sums)

        # Without a sample (every rank had nothing to read) the weight is 0: no mean moves.
        size = total("sample_size")
        metrics.log_scalar("loss", total("loss") / max(size, 1), size, round=4)
        for key in (k for k in logging_outputs[0] if k.startswith("sum:")):
            name = key.removeprefix("sum:")
            count = total(f"count:{name}")
            if count > 0:
                metrics.log_scalar(name, total(key) / count, count, round=4)
        seconds, padding = total("audio_s"), total("padding_s")
        share = padding / max(seconds + padding, 1e-9)
        metrics.log_scalar("padding", share, seconds + padding, round=4)
        metrics.log_scalar_sum("skipped", total("num_skipped"), round=0)
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
