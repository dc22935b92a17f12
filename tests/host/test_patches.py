"""What is mended of the installed fairseq, where no other test would notice its absence."""

import math

import pytest
import torch
from fairseq import optim
from fairseq.logging import metrics
from fairseq.optim.adam import FairseqAdamConfig
from fairseq.optim.amp_optimizer import AMPOptimizer
from omegaconf import OmegaConf


def test_metrics_forget_aggregations_that_are_over_and_keep_those_that_are_not():
    metrics.reset()
    with metrics.aggregate("outer") as outer:
        for value in range(50):
            with metrics.aggregate():
                metrics.log_scalar("x", value)
            with metrics.aggregate(new_root=True):
                metrics.log_scalar("y", value)
        assert dict(metrics._active_aggregators_cnt) == {"default": 1, "outer": 1}
    assert dict(metrics._active_aggregators_cnt) == {"default": 1}
    assert outer["x"].count == 50 and "y" not in outer
    metrics.reset()


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


@pytest.mark.parametrize("scale", [1.0, 128.0, 2.0**20])
def test_amp_steps_as_without_a_loss_scale(scale):
    gradients = [1e-6, -3e-6, 2e-6]
    assert steps(gradients, scale) == pytest.approx(steps(gradients, None), rel=1e-5)


def test_amp_skips_an_overflow_and_lowers_its_scale():
    first, second = steps([math.inf, 1.0], 128.0)
    assert first == 1.0 and second < 1.0
