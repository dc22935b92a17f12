"""Probes by nested cross-validation over speakers or sessions, one training per outer fold.

For small sets such as emotion corpora: the outer fold is scored, inner ones, trained beside its
probe, say when to stop; no label of the outer fold is looked at before its score.
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


class FoldError(ValueError):
    """The probes of one outer fold cannot be trained; the message says why."""

    def __init__(self, fold: int, reason: str) -> None:
        super().__init__(reason)
        self.fold = fold


@dataclass(frozen=True)
class FoldConfig:
    """How probes learn within folds; fixed beforehand, the same for every representation."""

    hidden: int = 0  # width of a hidden layer; 0: exactly one Linear
    # On half the squared weights, beside the summed cross-entropy; of 3, 10 and 30 the best one on
    # the inner folds of fbank and mfcc (EmoDB).
    penalty: float = 30.0
    max_steps: int = 80  # iterations of L-BFGS, each over all items that are learned from
    check_every: int = 5  # iterations between looks at the inner folds
    patience: int = 3  # looks without a lower loss after which it stops
    inner_folds: int = 5  # groups of the other folds; fewer where there are fewer folds

    def __post_init__(self) -> None:
        if not 1 <= self.check_every <= self.max_steps:
            raise ValueError(f"check_every={self.check_every}: must be 1 to max_steps")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds={self.inner_folds}: must be at least 2")


@dataclass(frozen=True)
class FoldPredictions:
    """Classes given to items: by the outer fold's probe (test), and by its inner probes (valid)."""

    test: Index  # (S, N): item n by the probe that learned from all folds but n's
    valid: Index  # (S, F, N): item n by the inner probe of outer fold f without n; -1 where n in f
    steps: Index  # (S, F): the iterations that the inner folds chose
    layer_weights: npt.NDArray[np.float64]  # (L,) mean over seeds and outer folds


def inner_groups(folds: Index, outer: int, inner_folds: int, seed: int = 0) -> Index:
    """Deal the other folds into inner groups 0 .. K - 1; items of the outer fold get K: (N,).

    The deal is the seed's: its luck is part of the spread over seeds.

    Raises:
        ValueError: fewer than 3 folds, so that none is left to choose on.
    """
    count = int(folds.max()) + 1
    if count < 3:
        raise ValueError(f"{count} fold(s) leave none to choose on: at least 3 are needed")
    groups = min(inner_folds, count - 1)
    group_of = np.full(count, groups)
    others = np.random.default_rng(seed).permutation(np.delete(np.arange(count), outer))
    group_of[others] = np.arange(len(others)) % groups
    return group_of[folds]


class FoldProbes(nn.Module):
    """One probe per job on one representation: a layer, or the weighted sum of several.

    Each job standardizes by the items that it learns from. Since that is linear, it is done to the
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
        self.mean = mean
        self.scale = torch.where(deviation > 1e-4, 1 / deviation.clamp(min=1e-4), 1.0)
        generator = torch.Generator().manual_seed(seed)

        # One Linear begins near zero, or early stopping would keep much of its first weights.
        size = 1.0 if hidden else 0.01

        def draw(inputs: int, outputs: int) -> nn.Parameter:
            drawn = (2 * torch.rand(inputs, outputs, generator=generator) - 1) * inputs**-0.5
            drawn *= size
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

    Within outer fold f, one run of L-BFGS minimizes the sum of the objectives of the inner probes
    and of the probe that learns from all other folds, which share its line search. It is stopped
    where the inner probes' mean loss on their held-out groups is lowest, and all are taken there.

    Raises:
        FoldError: features or losses of an outer fold's probes are not finite.
    """
    x = torch.from_numpy(vectors).to(device)
    count = int(folds.max()) + 1
    test = np.empty((len(seeds), len(labels)), np.int64)
    valid = np.full((len(seeds), count, len(labels)), -1, np.int64)
    steps = np.empty((len(seeds), count), np.int64)
    weights = np.empty((len(seeds), count, len(x)))
    for s, seed in enumerate(seeds):
        for fold in range(count):
            group = inner_groups(folds, fold, config.inner_folds, seed)
            found = _train_fold(x, labels, group, num_classes, seed, config)
            if found is None:
                raise FoldError(fold, _not_finite(vectors, config))
            classes, steps[s, fold], weights[s, fold] = found
            inside = folds == fold
            test[s, inside] = classes[inside]
            valid[s, fold, ~inside] = classes[~inside]
    return FoldPredictions(test, valid, steps, weights.mean(axis=(0, 1)))


def _not_finite(vectors: npt.NDArray[np.float32], config: FoldConfig) -> str:
    """Why no loss was finite: the features themselves, or the training."""
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=(0, 2)))
    if len(bad):
        return (
            f"the features of {len(bad)} of {vectors.shape[1]} utterances are not finite (NaN or "
            "infinite), so nothing can be learned from them: look for NaN in the checkpoint's "
            "weights, or for features beyond the range of float16 (--dtype float32)"
        )
    return (
        f"the loss was not finite at any look up to iteration {config.max_steps}, though the "
        "features are: their values are too large for a probe to learn from"
    )


def _train_fold(
    x: Tensor, labels: Index, group: Index, num_classes: int, seed: int, config: FoldConfig
) -> tuple[Index, int, npt.NDArray[np.float64]] | None:
    """One outer fold: classes (N,) by the probe that had not learned from the item, step, weights.

    None where no loss was finite.

    Job k < K learns from all inner groups but k, job K from all; so the job that an item is judged
    by has the number of its group, and no label of the outer fold enters anywhere.
    """
    last = int(group.max())
    jobs = np.arange(last + 1)[:, None]
    learns = torch.from_numpy((group != last) & (group != jobs)).to(x)  # (J, N)
    target = torch.from_numpy(np.where(group == last, 0, labels)).to(x.device)
    others = x[:, torch.from_numpy(group != last).to(x.device)]  # (L, n, D)
    x = (x - others.mean(dim=1, keepdim=True)) / others.std(dim=1, keepdim=True).clamp(min=1e-6)
    probes = FoldProbes(x, learns, num_classes, seed, config.hidden)
    optimizer = torch.optim.LBFGS(
        probes.parameters(), max_iter=config.check_every, line_search_fn="strong_wolfe"
    )
    flat = x.transpose(0, 1).flatten(1)  # (L, N, D) -> (N, L D)
    share = learns / learns.sum(dim=1, keepdim=True)
    penalty = config.penalty / learns.sum(dim=1)

    def losses(logits: Tensor) -> Tensor:
        repeated = target[:, None].expand(-1, len(learns)).flatten()
        flat_losses = F.cross_entropy(logits.flatten(0, 1), repeated, reduction="none")
        return flat_losses.view(logits.shape[:2])  # (N, J, C) -> (N, J)

    def objective() -> Tensor:
        optimizer.zero_grad()
        total = (losses(probes(flat)) * share.T).sum() + (penalty * probes.squares()).sum()
        torch.autograd.backward(total)
        return total

    items, inside = np.arange(len(labels)), group == last
    lowest, best_step, best = np.inf, 0, None
    for step in range(config.check_every, config.max_steps + 1, config.check_every):
        optimizer.step(objective)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            logits = probes(flat)
            loss = float(losses(logits).cpu().numpy()[items, group][~inside].mean())
            if loss < lowest:
                lowest, best_step = loss, step
                classes = logits.argmax(dim=2).cpu().numpy()[items, group]
                weights = probes.mixing[last].softmax(dim=0).double().cpu().numpy()
                best = classes, step, weights
        if step - best_step >= config.patience * config.check_every:
            break
    return best
