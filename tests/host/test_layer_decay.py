"""`adam_layer_decay`: a rate per depth, by whatever scheduler, kept over a resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf
from torch import nn

from mgf_fairseq.model import MgfModel


@pytest.fixture
def encoder() -> MgfModel:
    """A model of two layers as fine-tuning takes it."""
    model = MgfModel(tiny.tiny_model_config())
    model.remove_pretraining_modules()
    return model


def optimizer_of(parameters: Sequence[nn.Parameter], decay: float) -> Any:
    settings = {"adam_betas": "(0.9,0.98)", "adam_eps": 1e-8, "weight_decay": 0.0, "lr": [0.1]}
    config = {"_name": "adam_layer_decay", "layer_decay": decay, "tpu": False, **settings}
    return build_optimizer(OmegaConf.create(config), list(parameters))


def test_the_first_step_of_a_parameter_is_the_rate_times_the_decay_to_its_depth(encoder):
    head = nn.Linear(16, 3)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = optimizer_of(parameters, decay=0.5)
    optimizer.set_lr(0.01)
    assert optimizer.get_lr() == pytest.approx(0.01)
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    start = head.weight.detach().clone()
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # Adam's first step is the rate, whatever the gradient; fp32 weights of about 1 round at 1e-7.
    steps = {n: float((before[n] - p.detach()).mean()) for n, p in encoder.named_parameters()}
    expected = {"encoder.layers.1.": 0.5, "encoder.layers.0.": 0.25, "encoder.layer_norm.": 1.0}
    for name, step in steps.items():
        scale = next((v for k, v in expected.items() if name.startswith(k)), 0.125)
        assert step == pytest.approx(0.01 * scale, rel=1e-3), name
    assert float((start - head.weight.detach()).mean()) == pytest.approx(0.01, rel=1e-3)


def test_its_state_and_rates_survive_a_resume(encoder):
    first = optimizer_of(list(encoder.parameters()), decay=0.5)
    for parameter in encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.set_lr(0.01)
    first.step()
    second = optimizer_of(list(encoder.parameters()), decay=0.5)
    second.load_state_dict(first.state_dict())
    second.set_lr(0.02)
    assert [group["lr"] for group in second.param_groups] == pytest.approx(
        [0.02 * 0.5**depth for depth in range(4)]
    )
    assert second.get_lr() == pytest.approx(0.02)
    assert all(state["step"] == 1 for state in second.optimizer.state.values())


def test_a_decay_that_is_no_share_and_an_encoder_without_layers_are_refused(encoder):
    with pytest.raises(ValueError, match=r"layer_decay=1\.5: must be"):
        optimizer_of(list(encoder.parameters()), decay=1.5)
    with pytest.raises(ValueError, match=r"`mgf import`.*common\.amp=true"):
        optimizer_of(list(nn.Linear(2, 2).parameters()), decay=0.5)
