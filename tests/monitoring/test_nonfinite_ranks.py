"""What is not finite on one rank is skipped on all."""

import dataclasses
from typing import Any

import pytest
import tiny
import torch
from fairseq.distributed import ModuleProxyWrapper
from rank_processes import ROWS
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

pytestmark = pytest.mark.ddp


def broken_rank(rank: int, name: str, place: str) -> dict[str, Any]:
    """Two updates in fairseq's order, of which rank 1 spoils the first."""
    task, model, criterion = tiny.tiny_training()
    criterion.train()
    wrapped = ModuleProxyWrapper(DistributedDataParallel(model))
    optimizer = Optimizer(model)
    objective = model.objectives[name]
    forward = objective.forward

    def spoiled(encoded: Any, batch: Any) -> Any:
        part = forward(encoded, batch)
        if place == "loss":
            loss_sum = part.loss_sum * float("nan")
        else:  # value 0, gradient 0 * infinity
            loss_sum = part.loss_sum + (encoded.latents[0] * 0.0).sum().sqrt()
        return dataclasses.replace(part, loss_sum=loss_sum)

    before = [p.detach().clone() for p in model.parameters()]
    logs, weights, skipped = [], [], []
    for update in range(2):
        objective.forward = spoiled if rank == 1 and update == 0 else forward
        model.set_num_updates(update)
        model.zero_grad()
        sample = tiny.tiny_sample(ROWS[2][rank])
        _, _, log = task.train_step(sample, wrapped, criterion, optimizer, update)
        norm = optimizer.clip_grad_norm(0.0)
        assert torch.isfinite(norm)
        task.optimizer_step(optimizer, wrapped, update)
        logs.append(float(log["num_nonfinite"]))
        skipped.append(task.guard.take_count())
        weights.append([p.detach().clone() for p in model.parameters()])
    return {
        "nonfinite": logs,
        "skipped": skipped,
        "spent": list(criterion.budget.updates),
        "moved": [
            any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
            for after in weights
        ],
        "weights": weights[-1],
    }


class Optimizer:
    """What a fairseq optimizer does, in little."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.parameters = list(model.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=1e-2)
        self.step = self.adam.step

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
        return torch.nn.utils.get_total_norm([p.grad for p in self.parameters])


@pytest.mark.parametrize("name", ["frame", "utterance"])
def test_a_loss_that_one_rank_finds_not_finite_is_skipped_on_both_and_the_rest_trains(ranks, name):
    first, second = ranks.run(broken_rank, name, "loss")
    for found in (first, second):
        assert found["nonfinite"] == [0.5, 0]  # a share each of what both count
        assert (found["skipped"], found["spent"], found["moved"]) == ([0, 0], [1], [True, True])
    assert all(map(torch.equal, first["weights"], second["weights"]))


@pytest.mark.parametrize("name", ["frame", "utterance"])
def test_a_gradient_that_is_not_finite_on_one_rank_skips_the_update_on_both(ranks, name):
    first, second = ranks.run(broken_rank, name, "gradient")
    for found in (first, second):
        assert (found["nonfinite"], found["skipped"]) == ([0, 0], [1, 0])
        assert (found["spent"], found["moved"]) == ([1], [False, True])
    assert all(map(torch.equal, first["weights"], second["weights"]))
    assert all(torch.isfinite(weight).all() for weight in first["weights"])
