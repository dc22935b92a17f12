"""Train batched probes by minibatches, with early stopping on valid, and predict with it.

Between the examples of a task and its scores: all layers and seeds learn in one pass over the data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.progress import Progress
from .batched import BatchedProbes

_BLOCK_BYTES = 2**27  # features held as fp32 at a time
Index = npt.NDArray[np.int64]


class Examples(Protocol):
    """Feature vectors with what each is compared with: frames, or pooled stretches."""

    @property
    def labels(self) -> npt.NDArray[Any]:
        """(N,) class numbers, or (N, ...) of what else the losses take."""

    @property
    def shape(self) -> tuple[int, int]:
        """L layers of width D."""

    def gather(self, index: Index) -> npt.NDArray[np.floating]:
        """(L, n, D) of the examples at `index`, which is sorted."""


@dataclass(frozen=True)
class ProbeConfig:
    """How probes learn; fixed beforehand, and the same for every representation."""

    hidden: int = 0  # width of a hidden layer; 0: exactly one Linear
    learning_rate: float = 1e-2  # of Adam, falling linearly to a twentieth at the last epoch
    batch_size: int = 1024
    epoch_items: int = 100_000  # an epoch draws so many, without repeats until all are used
    valid_items: int = 30_000  # early stopping looks at this many at most, drawn once
    max_epochs: int = 8
    patience: int = 3  # epochs without a lower loss on valid after which it stops

    def __post_init__(self) -> None:
        for name in ("batch_size", "epoch_items", "valid_items", "max_epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.hidden < 0:
            raise ValueError(f"hidden={self.hidden}: must be 0 (one Linear) or a width")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate={self.learning_rate}: must be above 0")


@dataclass(frozen=True)
class Standardizer:
    """Zero mean and unit variance per layer and dimension, by the statistics of train."""

    mean: Tensor  # (L, 1, D)
    scale: Tensor  # (L, 1, D); 1 where a dimension is constant

    def __call__(self, x: Tensor) -> Tensor:
        """(L, n, D) -> (L, n, D)."""
        return (x - self.mean) * self.scale

    def to(self, device: torch.device) -> Standardizer:
        """Copy it to a device."""
        return Standardizer(self.mean.to(device), self.scale.to(device))


@dataclass(frozen=True)
class Learned:
    """What probes make smaller."""

    # Outputs (S, R, B, C) and labels (S, B, ...) -> losses (S, R, B).
    losses: Callable[[Tensor, Tensor], Tensor]
    at_once: int | None = None  # most examples whose outputs are held; None: as many as features


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropies (S, R, B) of logits (S, R, B, C) for labels (S, B)."""
    labels = labels[:, None].expand(logits.shape[:3])
    flat = F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none")
    return flat.view(labels.shape)


CLASSES = Learned(cross_entropies)


class NotFinite(ValueError):
    """Probes could not be trained; `representations` are their numbers."""

    def __init__(self, representations: list[int]) -> None:
        super().__init__(f"no finite loss on valid for representations {representations}")
        self.representations = representations


@dataclass(frozen=True)
class TrainedProbes:
    """The probes at their best epoch on valid."""

    probes: BatchedProbes
    standardizer: Standardizer
    best_epochs: list[list[int]]  # (S, R)


def fit_standardizer(examples: Examples) -> Standardizer:
    """Take mean and deviation over all examples."""
    layers, width = examples.shape
    total = torch.zeros(layers, width, dtype=torch.float64)
    squares = torch.zeros_like(total)
    # Sums about the first examples' mean: no cancellation where a mean is large.
    origin: Tensor | None = None
    for index in _chunks(np.arange(len(examples.labels)), _block_size(examples)):
        x = torch.from_numpy(examples.gather(index)).float()
        if origin is None:
            origin = x.mean(dim=1, keepdim=True)
        x = x - origin
        total += x.sum(dim=1, dtype=torch.float64)
        squares += x.square().sum(dim=1, dtype=torch.float64)
    assert origin is not None
    mean = total / len(examples.labels)
    deviation = (squares / len(examples.labels) - mean.square()).clamp(min=0).sqrt()
    scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 1.0)
    return Standardizer((mean[:, None] + origin).float(), scale[:, None].float())


def train_probes(
    train: Examples,
    valid: Examples,
    num_classes: int,
    seeds: Sequence[int],
    config: ProbeConfig,
    device: torch.device,
    progress: Progress | None = None,
    learned: Learned = CLASSES,
) -> TrainedProbes:
    """Train one probe per seed, layer, and sum of layers; keep each at its best epoch on valid.

    What is learned are classes, by cross-entropy, unless something else is given with `learned`;
    `num_classes` is then the number of outputs.

    A seed decides a probe's first weights and the order of its batches within a block of data.

    Raises:
        NotFinite: a probe's loss on valid was finite at no epoch.
    """
    probes = BatchedProbes(seeds, *train.shape, num_classes, config.hidden).to(device)
    standardizer = fit_standardizer(train).to(device)
    learner = _Learner(probes, standardizer, train, seeds, config, learned)
    looked_at = _sample(len(valid.labels), config.valid_items)
    best = copy.deepcopy(probes)
    lowest = torch.full((len(seeds), probes.num_representations), float("inf"), device=device)
    best_epoch = torch.zeros_like(lowest, dtype=torch.int64)
    for epoch in range(1, config.max_epochs + 1):
        learner.epoch()
        loss = mean_loss(probes, standardizer, valid, looked_at, learned)
        improved = loss < lowest
        best.copy_probes(probes, improved)
        lowest, best_epoch[improved] = torch.minimum(lowest, loss), epoch
        if progress:
            progress("train probes", epoch, config.max_epochs)
        if epoch - int(best_epoch.max()) >= config.patience:
            break
    failed = (best_epoch == 0).any(dim=0).nonzero().flatten().tolist()
    if failed:
        raise NotFinite(failed)
    return TrainedProbes(best, standardizer, best_epoch.tolist())


class _Learner:
    """The optimizer and the order in which it sees the examples."""

    def __init__(
        self,
        probes: BatchedProbes,
        standardizer: Standardizer,
        train: Examples,
        seeds: Sequence[int],
        config: ProbeConfig,
        learned: Learned,
    ) -> None:
        self.probes, self.standardizer, self.train = probes, standardizer, train
        self.config, self.losses = config, learned.losses
        self.optimizer = torch.optim.Adam(probes.parameters(), lr=config.learning_rate)
        falls_for = max(config.max_epochs - 1, 1)
        self.decay = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.05, falls_for)
        self.order = _Order(len(train.labels))
        self.shuffles = [np.random.default_rng(seed) for seed in seeds]

    def epoch(self) -> None:
        """See `epoch_items` examples; the fewer there are, the more often."""
        drawn = self.order.draw(self.config.epoch_items)
        for block in np.array_split(drawn, -(-len(drawn) // _block_size(self.train))):
            self._learn(np.sort(block))
        self.decay.step()

    def _learn(self, block: Index) -> None:
        """Go through a block once, each seed in an order of its own."""
        x, y = _load(self.train, block, self.standardizer)
        orders = [torch.from_numpy(rng.permutation(len(block))) for rng in self.shuffles]
        batches = max(len(block) // self.config.batch_size, 1)  # all of nearly the same size
        for picked in torch.stack(orders).to(y.device).tensor_split(batches, dim=1):
            # (L, n, D) -> S x (L, B, D) -> (S, L, B, D)
            rows = torch.stack([x.index_select(1, mine) for mine in picked])
            loss = self.losses(self.probes(rows), y[picked]).mean(dim=2).sum()
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()


class _Order:
    """Draws examples without a repeat until all have been drawn, then anew; the same every time."""

    def __init__(self, size: int) -> None:
        self.size, self.rng = size, np.random.default_rng(0)
        self.left: Index = np.empty(0, np.int64)

    def draw(self, count: int) -> Index:
        while len(self.left) < count:
            self.left = np.concatenate([self.left, self.rng.permutation(self.size)])
        drawn, self.left = self.left[:count], self.left[count:]
        return drawn


@torch.no_grad()
def mean_loss(
    probes: BatchedProbes,
    standardizer: Standardizer,
    examples: Examples,
    index: Index | None = None,
    learned: Learned = CLASSES,
) -> Tensor:
    """Mean loss per probe, (S, R), over all examples or those at `index`."""
    index = np.arange(len(examples.labels)) if index is None else index
    total = torch.zeros(
        probes.num_seeds, probes.num_representations, device=standardizer.mean.device
    )
    size = _block_size(examples)
    for chunk in _chunks(index, min(size, learned.at_once or size)):
        x, y = _load(examples, chunk, standardizer)
        outputs = probes(x.expand(probes.num_seeds, -1, -1, -1))
        total += learned.losses(outputs, y.expand(probes.num_seeds, *y.shape)).sum(dim=2)
    return total / len(index)


@torch.no_grad()
def predict(trained: TrainedProbes, examples: Examples) -> npt.NDArray[np.int32]:
    """Classes (S, R, N) that each probe gives the examples."""
    probes = trained.probes
    parts = []
    for chunk in _chunks(np.arange(len(examples.labels)), _block_size(examples)):
        x, _ = _load(examples, chunk, trained.standardizer)
        parts.append(probes(x.expand(probes.num_seeds, -1, -1, -1)).argmax(dim=3).int().cpu())
    return torch.cat(parts, dim=2).numpy()


def _load(examples: Examples, index: Index, standardizer: Standardizer) -> tuple[Tensor, Tensor]:
    """Standardized features (L, n, D) and labels (n, ...) on the probes' device."""
    device = standardizer.mean.device
    x = torch.from_numpy(examples.gather(index)).to(device).float()
    return standardizer(x), torch.from_numpy(examples.labels[index]).to(device)


def _block_size(examples: Examples) -> int:
    layers, width = examples.shape
    return max(_BLOCK_BYTES // (4 * layers * width), 1)


def _chunks(index: Index, size: int) -> Iterator[Index]:
    for start in range(0, len(index), size):
        yield index[start : start + size]


def _sample(size: int, most: int) -> Index:
    """Sorted indices of all examples, or of `most` drawn once and for all."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, most, replace=False))
