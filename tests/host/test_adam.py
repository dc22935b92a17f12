"""Adam over all parameters at once: fairseq's numbers and fairseq's state."""

import copy

import pytest
import torch
from fairseq.optim.adam import Adam

from mgf_fairseq.host.adam import fused

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
LOOP = getattr(Adam.step, "__wrapped__", Adam.step)  # fairseq's own, if it is replaced here
STEPS = {"loop": LOOP, "fused": fused(LOOP)}


def trained(steps: list[str], **parameters: torch.dtype) -> tuple[list[torch.Tensor], dict]:
    """The weights and the optimizer's state after updates by these steps, each resumed anew."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"a": (3, 4), "b": (5,), "late": (2,)}
    weights = [
        torch.nn.Parameter(torch.randn(shape, generator=generator).to(parameters.get(name)))
        for name, shape in shapes.items()
    ]
    optimizer = Adam(weights, **SETTINGS)
    for number, step in enumerate(steps):
        state = copy.deepcopy(optimizer.state_dict())
        optimizer = Adam(weights, **SETTINGS)
        optimizer.load_state_dict(state)
        for name, weight in zip(shapes, weights, strict=True):
            gradient = torch.randn(weight.shape, generator=generator) * 10.0 ** -(number % 4)
            # One that begins two updates after the others, as a layer that was skipped.
            weight.grad = None if name == "late" and number < 2 else gradient.to(weight.dtype)
        STEPS[step](optimizer)
    return weights, optimizer.state_dict()["state"]


@pytest.mark.parametrize("steps", [["fused"] * 6, ["loop", "fused"] * 3, ["fused", "loop"] * 3])
def test_the_numbers_and_the_state_are_those_of_fairseqs_loop_and_each_resumes_the_other(steps):
    expected, expected_state = trained(["loop"] * 6)
    found, state = trained(steps)
    for ours, theirs in zip(found, expected, strict=True):
        # fp32: six updates, each rounded once or twice more in one than in the other.
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)
    for number, values in expected_state.items():
        assert values.keys() == state[number].keys() and type(state[number]["step"]) is int
        assert values["step"] == state[number]["step"]
        torch.testing.assert_close(state[number]["exp_avg_sq"], values["exp_avg_sq"])


def test_half_precision_takes_fairseqs_own_step():
    (found, _), (expected, _) = (trained([step] * 3, a=torch.bfloat16) for step in STEPS)
    assert found[0].dtype is torch.bfloat16 and torch.equal(found[0], expected[0])
