"""Optimizer ``adam_layer_decay``: fairseq's Adam with rates that fall from the output downwards.

fairseq's own ``layer_decay`` of its fine-tuning models knows data2vec 2.0 alone. encoder/depth.py
marks the layers of our encoder; any scheduler and fine-tuning model of fairseq takes the optimizer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairseq.optim import register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from torch.nn import Parameter

from ..encoder.depth import depth_of

NAME = "adam_layer_decay"


@dataclass
class LayerDecayAdamConfig(FairseqAdamConfig):  # type: ignore[misc]
    """Those of fairseq's Adam, and the decay."""

    layer_decay: float = field(
        default=1.0,
        metadata={
            "help": "each layer learns at this many times the rate of the one above it; 1: all "
            "learn at the same rate"
        },
    )


@register_optimizer(NAME, dataclass=LayerDecayAdamConfig)
class LayerDecayAdam(FairseqAdam):  # type: ignore[misc]
    """Adam with a group of parameters per depth, at a rate times ``layer_decay ** depth``.

    Clark et al. 2020 (ELECTRA, arXiv 2003.10555, appendix B); Bao et al. 2022 (BEiT).

    Raises:
        ValueError: the decay is no share, or no parameter is marked with its depth.
    """

    def __init__(self, cfg: LayerDecayAdamConfig, params: Iterable[Parameter]) -> None:
        if not 0 < cfg.layer_decay <= 1:
            raise ValueError(
                f"optimizer.layer_decay={cfg.layer_decay}: must be above 0 and at most 1"
            )
        by_depth: dict[int, list[Parameter]] = defaultdict(list)
        marked = False
        for parameter in params:
            depth = depth_of(parameter)
            marked |= depth is not None
            by_depth[depth or 0].append(parameter)
        if not marked:
            raise ValueError(
                f"optimizer={NAME}: no parameter belongs to a layer of an MGF encoder. "
                "`mgf import` makes one of a wav2vec 2.0 or HuBERT; common.fp16 and common.bf16 "
                "copy the parameters, so train with common.amp=true instead"
            )
        super().__init__(
            cfg,
            [
                {"params": by_depth[depth], "lr_scale": cfg.layer_decay**depth}
                for depth in sorted(by_depth)
            ],
        )
        self.set_lr(self.optimizer_config["lr"])

    def get_lr(self) -> float:
        """The rate of the output, which the log shows."""
        group = self.param_groups[0]
        return float(group["lr"] / group["lr_scale"])

    def set_lr(self, lr: float) -> None:
        """Give each depth its share of the scheduler's rate."""
        groups: list[dict[str, Any]] = self.param_groups
        for group in groups:
            group["lr"] = lr * group["lr_scale"]
