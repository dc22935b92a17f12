"""Probes by nested cross-validation over speakers or sessions, all folds trained side by side.

For small sets such as emotion corpora: the outer fold is scored, the inner ones say when to stop;
nothing of the outer fold is looked at before its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoldConfig:
    """How probes learn within folds; fixed beforehand, the same for every representation."""

    hidden: int = 0  # width of a hidden layer; 0: exactly one Linear
    penalty: float = 10.0  # on half the squared weights, beside the summed cross-entropy
    max_steps: int = 80  # iterations of L-BFGS over the whole set
    check_every: int = 5  # iterations between looks at the inner folds
    patience: int = 4  # looks without a lower loss after which it stops
    inner_folds: int = 5  # groups of the other folds; fewer where there are fewer folds


@dataclass(frozen=True)
class FoldPredictions:
    """Classes given to items: by the outer fold's probe (test), and by its inner probes (valid)."""

    test: Index  # (S, N): item n by the probe that learnt from all folds but n's
    valid: Index  # (S, F, N): item n by the inner probe of outer fold f without n; -1 where n in f
    steps: Index  # (S, F): the iterations that the inner folds chose
    layer_weights: npt.NDArray[np.float64]  # (L,) mean over seeds and outer folds


@dataclass(frozen=True)
class _Jobs:
    """F x (K + 1) trainings: job f (K + 1) + k leaves out fold f and group k; k = K only f."""

    learns: npt.NDArray[np.bool_]  # (J, N) items that job j learns from
    inner: Index  # (F, N) the job that says of item n how long fold f trains; any job where n in f
    final: Index  # (N,) the job that scores item n


def plan_jobs(folds: Index, inner_folds: int) -> _Jobs:
    """Lay out the trainings; `folds` are numbers from 0 per item.

    Raises:
        ValueError: fewer than 3 folds, so that none is left to choose on.
    """
    count = int(folds.max()) + 1
    if count < 3:
        raise ValueError(f"{count} fold(s) leave none to choose on: at least 3 are needed")
    groups = min(inner_folds, count - 1)
    learns, inner = [], []
    for fold in range(count):
        others = [other for other in range(count) if other != fold]
        group_of = np.full(count, groups)
        group_of[others] = np.arange(len(others)) % groups
        group = group_of[folds]  # (N,); `groups` marks the outer fold itself
        learns += [(group != groups) & (group != k) for k in range(groups)]
        learns.append(group != groups)
        inner.append(fold * (groups + 1) + group)
    return _Jobs(np.stack(learns), np.stack(inner), folds * (groups + 1) + groups)


class FoldProbes(nn.Module):
    """One probe per job on one representation: a layer, or the weighted sum of several.

    Each job standardises by the items that it learns from. Since that is linear, it is done to the
    weights instead of the features: one matrix product serves all jobs.
    """

    def __init__(
        self, x: Tensor, learns: Tensor, num_classes: int, seed: int, hidden: int = 0
    ) -> None:
        super().__init__()
        layers, _, width = x.shape
        jobs = len(learns)
        share = learns / learns.sum(dim=1, keepdim=True)  # (J, N)
        mean = share @ x  # (L, J, D)
        deviation = (share @ x.square() - mean.square()).clamp(min=0).sqrt()
        self.mean, self.scale = (
            mean,
            torch.where(deviation > 1e-4, 1 / deviation.clamp(min=1e-4), 1.0),
        )
        generator = torch.Generator().manual_seed(seed)

        def draw(inputs: int, outputs: int) -> nn.Parameter:
            drawn = (2 * torch.rand(inputs, outputs, generator=generator) - 1) * inputs**-0.5
            return nn.Parameter(drawn.to(x.device).repeat(jobs, 1, 1))  # (J, I, O)

        sizes = [width, hidden, num_classes] if hidden else [width, num_classes]
        self.weight, self.bias = draw(sizes[0], sizes[1]), draw(1, sizes[1])
        self.mixing = nn.Parameter(torch.zeros(jobs, layers, device=x.device))
        self.output = draw(hidden, num_classes) if hidden else None
        self.output_bias = draw(1, num_classes) if hidden else None

    def forward(self, flat: Tensor) -> Tensor:
        """(N, L D) -> (N, J, C)."""
        mix = self.mixing.softmax(dim=1).T[:, :, None]  # (J, L) -> (L, J, 1)
        weight = (mix * self.scale)[..., None] * self.weight  # (L, J, D, C)
        bias = self.bias[:, 0] - torch.einsum("ljd,ljdc->jc", self.mean, weight)
        jobs, outputs = bias.shape
        # (L, J, D, C) -> (L D, J C)
        columns = weight.permute(0, 2, 1, 3).reshape(-1, jobs * outputs)
        x = torch.addmm(bias.flatten(), flat, columns).view(-1, jobs, outputs)
        if self.output is None or self.output_bias is None:
            return x
        return torch.einsum("njh,jhc->njc", x.relu(), self.output) + self.output_bias[:, 0]

    def squares(self) -> Tensor:
        """Half the squared weights of each job, (J,)."""
        weights = [self.weight] if self.output is None else [self.weight, self.output]
        return torch.stack([weight.square().sum(dim=(1, 2)) / 2 for weight in weights]).sum(dim=0)


def cross_validate(
    vectors: npt.NDArray[np.float32],
    labels: Index,
    folds: Index,
    num_classes: int,
    seeds: Sequence[int],
    config: FoldConfig,
    device: torch.device,
) -> FoldPredictions:
    """Train and predict on one representation, (L, N, D): a layer (L = 1) or a sum of L layers.

    Within outer fold f, the number of iterations is the one with the lowest mean loss of the inner
    probes on their held-out groups; the probe that learnt from all other folds is taken there.
    """
    jobs = plan_jobs(folds, config.inner_folds)
    x = torch.from_numpy(vectors).to(device)
    x = x - x.mean(dim=1, keepdim=True)  # a common origin only helps precision: jobs shift anew
    x = x / x.std(dim=1, keepdim=True).clamp(min=1e-6)
    runs = [_run(x, labels, folds, jobs, num_classes, seed, config) for seed in seeds]
    return FoldPredictions(
        np.stack([run.test for run in runs]),
        np.stack([run.valid for run in runs]),
        np.stack([run.steps for run in runs]),
        np.mean([run.layer_weights for run in runs], axis=0),
    )


def _run(
    x: Tensor,
    labels: Index,
    folds: Index,
    jobs: _Jobs,
    num_classes: int,
    seed: int,
    config: FoldConfig,
) -> FoldPredictions:
    """One seed; the arrays lack the axis S."""
    learns = torch.from_numpy(jobs.learns).to(x)
    probes = FoldProbes(x, learns, num_classes, seed, config.hidden)
    optimizer = torch.optim.LBFGS(
        probes.parameters(), max_iter=config.check_every, line_search_fn="strong_wolfe"
    )
    flat = x.transpose(0, 1).flatten(1)  # (L, N, D) -> (N, L D)
    target = torch.from_numpy(labels).to(x.device)[:, None].expand(-1, len(learns)).flatten()
    sizes = learns.sum(dim=1)  # (J,)

    def objective() -> Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy(probes(flat).flatten(0, 1), target, reduction="none")
        sums = (losses.view(len(labels), -1) * learns.T).sum(dim=0)
        total = ((sums + config.penalty * probes.squares()) / sizes).sum()
        torch.autograd.backward(total)
        return total

    best = _Best(labels, folds, jobs, len(x))
    for step in range(config.check_every, config.max_steps + 1, config.check_every):
        optimizer.step(objective)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            best.look(step, probes(flat), probes.mixing.softmax(dim=1))
        if step - best.steps.max() >= config.patience * config.check_every:
            break
    return FoldPredictions(best.test, best.valid, best.steps, best.layer_weights.mean(axis=0))


class _Best:
    """What each outer fold's probes said when its inner folds' loss was lowest."""

    def __init__(self, labels: Index, folds: Index, jobs: _Jobs, num_layers: int) -> None:
        count = len(jobs.inner)
        self.labels, self.folds, self.jobs = torch.from_numpy(labels), folds, jobs
        self.items = np.arange(len(labels))
        self.outside = np.arange(count)[:, None] != folds  # (F, N)
        self.lowest = np.full(count, np.inf)
        self.steps = np.zeros(count, np.int64)
        self.valid = np.full(self.outside.shape, -1, np.int64)
        self.test = np.zeros(len(labels), np.int64)
        self.layer_weights = np.zeros((count, num_layers))

    def look(self, step: int, logits: Tensor, mixing: Tensor) -> None:
        """Compare the inner losses with the lowest so far; logits (N, J, C), mixing (J, L)."""
        logits = logits.cpu()
        chances = logits.log_softmax(dim=2)[self.items, :, self.labels].numpy()  # (N, J)
        loss = -chances[self.items, self.jobs.inner]  # (F, N)
        mean = (loss * self.outside).sum(axis=1) / self.outside.sum(axis=1)
        better = mean < self.lowest
        classes = logits.argmax(dim=2).numpy()
        inner = np.where(self.outside, classes[self.items, self.jobs.inner], -1)
        final = np.arange(1, len(better) + 1) * (logits.shape[1] // len(better)) - 1
        self.lowest[better], self.steps[better] = mean[better], step
        self.valid[better] = inner[better]
        self.layer_weights[better] = mixing.cpu().numpy()[final][better]
        now = better[self.folds]
        self.test[now] = classes[self.items, self.jobs.final][now]
