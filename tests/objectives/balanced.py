"""A tiny training, and the norms of its single gradients by a slow oracle."""

import math

import tiny
import torch

ROWS = range(6)
PARTS = tuple(tiny.SHARES)


def training(names=tuple(tiny.OBJECTIVES), shares=None, cosine_interval=0, **overrides):
    """Model and criterion by shares."""
    task, model, _ = tiny.tiny_training(names, **overrides)
    criterion = tiny.shares_criterion(task, shares, cosine_interval=cosine_interval)
    return model.train(), criterion.train()


def update(model, criterion, sample, number=0, loss_scale=1.0):
    """Forward and backward of one update; return loss and log. The balance is not updated yet."""
    model.set_num_updates(number)
    criterion.update = number + 1
    model.zero_grad()
    loss, _, log = criterion(model, sample)
    (loss * loss_scale).backward()
    return loss.detach(), log


def part_losses(model, sample):
    """The mean loss of each part, and the levels as it reads them: made without the criterion."""
    output = model(**sample["net_input"])
    losses = {}
    for name, objective in output.objectives.items():
        parts = objective.parts or {name: (objective.loss_sum, objective.count)}
        losses |= {part: total / count for part, (total, count) in parts.items()}
    return losses, output


def oracle_norms(model, sample):
    """Norm of each part's gradient at the levels, one backward pass per part."""
    losses, output = part_losses(model, sample)
    norms = {}
    for part, loss in losses.items():
        view = output.views[part]
        levels = [view.latents, view.context, *view.hidden_states]
        gradients = torch.autograd.grad(loss, levels, retain_graph=True, allow_unused=True)
        norms[part] = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
    return norms
