"""The log of an update or a validation: the sums of each batch, and their means over all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor

from ..types import EncoderOutput, ObjectiveOutput
from ..utils.transfer import to_host
from .feature_deviation import feature_deviation

NUM_FRAMES = "ntokens"
LEVEL = "std_"  # of a level, before its name


def batch_sums(
    objectives: Mapping[str, ObjectiveOutput], encoded: EncoderOutput
) -> dict[str, Tensor]:
    """Collect the numbers () of a batch that lie on the device: losses, metrics, deviations."""
    sums: dict[str, Tensor] = {NUM_FRAMES: encoded.num_frames.sum()}
    for name, part in objectives.items():
        measured = {f"loss_{name}": (part.loss_sum.detach(), part.count)}
        measured |= {f"{name}_{metric}": pair for metric, pair in part.metrics.items()}
        for key, (total, count) in measured.items():
            sums[f"sum:{key}"], sums[f"count:{key}"] = total, count
    sums |= {f"{LEVEL}{level}": x for level, x in feature_deviation(encoded).items()}
    return sums


def batch_log(
    numbers: Mapping[str, float],
    objectives: Mapping[str, ObjectiveOutput],
    counted: Mapping[str, bool],
) -> dict[str, float]:
    """Make the log of the numbers of :func:`batch_sums`; what an objective skipped counts 0."""
    log: dict[str, float] = {NUM_FRAMES: int(numbers[NUM_FRAMES])}
    for name, part in objectives.items():
        for key in (f"loss_{name}", *(f"{name}_{metric}" for metric in part.metrics)):
            for kind in ("sum", "count"):
                log[f"{kind}:{key}"] = numbers[f"{kind}:{key}"] if counted[name] else 0.0
    for key, value in numbers.items():
        if key.startswith(LEVEL):
            finite = math.isfinite(value)
            log[f"sum:{key}"], log[f"count:{key}"] = value if finite else 0.0, float(finite)
    return log


def log_means(logging_outputs: list[dict[str, Any]]) -> None:
    """Log the means of all ranks' sums under ``loss``, ``loss_<objective>``, and so on."""
    sums = [_as_floats(log) for log in logging_outputs]

    def total(key: str) -> float:
        return sum(log.get(key, 0.0) for log in sums)

    # Without a sample (every rank had nothing to read), or where an objective was skipped
    # in the sum, the weight is 0: no mean moves.
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


def _as_floats(log: dict[str, Any]) -> dict[str, float]:
    """Bring a log to the host in one transfer instead of one per value."""
    tensors = {key: value for key, value in log.items() if torch.is_tensor(value)}
    if not tensors:
        return log
    (values,) = to_host(torch.stack([value.detach().reshape(()) for value in tensors.values()]))
    return {**log, **dict(zip(tensors, values, strict=True))}
