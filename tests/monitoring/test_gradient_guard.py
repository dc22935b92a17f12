"""Gradients that are not finite: traced, skipped and counted."""

import math

import pytest
import tiny
import torch
from poisoned import ROWS

from mgf_fairseq.monitoring.gradient_guard import GradientGuard, explain_gradient
from mgf_fairseq.types import ObjectiveOutput


def test_a_gradient_that_is_not_finite_is_traced_to_objective_and_utterance():
    _, model, _ = tiny.tiny_training(["frame", "sample"])
    objective = model.objectives["frame"]
    forward = objective.forward

    def root_of_zero(encoded, batch):
        part = forward(encoded, batch)
        extra = (encoded.latents[2] * 0.0).sum().sqrt()  # value 0, gradient 0 * infinity
        return ObjectiveOutput(part.loss_sum + extra, part.count, part.metrics)

    objective.forward = root_of_zero
    for p in model.parameters():
        p.grad = torch.full_like(p, math.nan)
    assert explain_gradient(model, tiny.tiny_sample(ROWS)) == ["objective frame, utterance 1.wav"]
    # They would lie beside the activations in a memory that may hold just one training step.
    assert all(p.grad is None for p in model.parameters())


def test_a_norm_of_zero_skips_the_step_in_silence_and_one_that_is_not_finite_counts_and_explains():
    class Optimizer:
        norm = 0.0

        def clip_grad_norm(self, max_norm, aggregate_norm_fn=None):
            return torch.tensor(self.norm)

    optimizer, guard, explained = Optimizer(), GradientGuard(), []
    guard.install(optimizer, explained.append)
    found = []
    for optimizer.norm in (0.0, 1e-30, 3.0, math.inf, math.nan, 2.0):
        guard.note({"norm": optimizer.norm})
        norm = float(optimizer.clip_grad_norm(10.0))
        found.append((norm, guard.skips_step(), guard.take_count()))
    assert found == [
        (0.0, True, 0),
        (pytest.approx(1e-30), False, 0),
        (3.0, False, 0),
        (0.0, True, 1),
        (0.0, True, 1),
        (2.0, False, 0),
    ]
    # Each with the batches of its own update, and of no other.
    assert [len(batches) for batches in explained] == [1, 1]
    assert explained[0] == [{"norm": math.inf}]
    assert not guard.skips_step()
