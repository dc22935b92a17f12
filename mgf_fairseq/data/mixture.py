"""Several corpora as one, and how often an epoch reads each: `task.corpora`.

Between manifests and the dataset. What is drawn is a function of (seed, epoch) and nothing else, so
it is the same on every rank and after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..utils.rng import generator
from .manifest import Manifest


class Rows(Protocol):
    """What a dataset needs from a manifest, or from several."""

    @property
    def num_samples(self) -> NDArray[np.int64]:
        """(N,) lengths."""

    def __len__(self) -> int: ...

    def entry(self, index: int) -> str:
        """Where the audio of a row lies."""


class JoinedManifest:
    """Several manifests as one; each keeps its own root."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.manifests = list(manifests)
        self.bounds = np.cumsum([0, *map(len, self.manifests)])
        self.num_samples: NDArray[np.int64] = np.concatenate(
            [manifest.num_samples for manifest in self.manifests]
        )

    def __len__(self) -> int:
        return len(self.num_samples)

    def entry(self, index: int) -> str:
        """The entry of row `index`, counted over all manifests, with its root."""
        part = int(np.searchsorted(self.bounds, index, side="right")) - 1
        return self.manifests[part].entry(index - int(self.bounds[part]))


def parse_corpora(mapping: Any) -> dict[str, float | None]:
    """Names and weights of `task.corpora`; all weights are None, or none is.

    Raises:
        ValueError: no mapping, a weight is no number above 0, or only some corpora have one.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"task.corpora={mapping!r} must map folders to weights, or to null")
    given = {str(name): weight for name, weight in mapping.items()}
    if all(weight is None for weight in given.values()):
        return given
    for name, weight in given.items():
        if weight is None:
            raise ValueError(
                f"task.corpora gives {name} no weight and others one: give every corpus a weight, "
                "or all of them null, which reads each once per epoch"
            )
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and 0 < weight < math.inf):
            raise ValueError(
                f"task.corpora gives {name} the weight {weight!r}, which must be a number above 0; "
                "remove a corpus that should not be read"
            )
    return {name: float(weight) for name, weight in given.items()}


@dataclass(frozen=True)
class Drawn:
    """What an epoch reads: item numbers, and how often each was read before."""

    items: NDArray[np.int64]
    repeats: NDArray[np.int64]


class Mixture:
    """How often an epoch reads each item of each corpus.

    An epoch has as much audio as all corpora together; each corpus gets the share of its weight. A
    corpus is read in passes, each in an order of its own, which continue from epoch to epoch: no
    item is repeated before all others have been read as often.
    """

    def __init__(
        self,
        sizes: NDArray[np.int64],
        bounds: Sequence[int],
        weights: Sequence[float | None],
        seed: int,
    ) -> None:
        """Plan the mixture.

        Args:
            sizes: (N,) samples that each item brings to a batch, corpus after corpus.
            bounds: where each corpus begins, and N.
            weights: shares of the trained audio, in any unit; None: by size, each item once.
            seed: of the orders.
        """
        self._seed = seed
        self._starts = [int(bound) for bound in bounds[:-1]]
        self._sizes = [sizes[a:b] for a, b in pairwise(bounds)]
        self.held = [int(part.sum()) for part in self._sizes]  # samples of one pass
        shares = np.array(self.held if None in weights else weights, np.float64)
        self.given = [  # samples of one epoch
            round(sum(self.held) * share) for share in (shares / shares.sum()).tolist()
        ]

    def draw(self, epoch: int) -> Drawn:
        """Choose what epoch 1, 2, ... reads."""
        items, repeats = [], []
        for corpus, (held, given) in enumerate(zip(self.held, self.given, strict=True)):
            begin, end = (epoch - 1) * given, epoch * given
            first = begin // held
            for number in range(first, -(-end // held)):
                order = self._order(corpus, number)
                ends = np.cumsum(self._sizes[corpus][order]) + number * held
                # An item belongs to the epoch in which it begins.
                begins = ends - self._sizes[corpus][order]
                chosen = order[np.searchsorted(begins, begin) : np.searchsorted(begins, end)]
                items.append(chosen + self._starts[corpus])
                repeats.append(np.full(len(chosen), number - first))
        return Drawn(np.concatenate(items), np.concatenate(repeats))

    def _order(self, corpus: int, number: int) -> NDArray[np.int64]:
        """The order of a corpus's items in its pass `number`."""
        return generator(self._seed, corpus, number).permutation(len(self._sizes[corpus]))
