"""The log of an update or a validation, from the sums that the criterion collects per batch."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.logging import metrics


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
    values = torch.stack([value.detach().double().reshape(()) for value in tensors.values()])
    return {**log, **dict(zip(tensors, values.tolist(), strict=True))}
