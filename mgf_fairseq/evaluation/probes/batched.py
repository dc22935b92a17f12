"""Many probes in one product: small classifiers of one shape, one for each seed and layer.

Under the trainers of trainer.py and cross_validation.py. Each probe is exactly one Linear, or one
hidden layer where asked for; sharing a tensor changes their cost and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class BatchedLinear(nn.Module):
    """P independent Linears in one batched product, drawn as `nn.Linear` draws its weights."""

    def __init__(self, generators: Sequence[torch.Generator], inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)

        def draw(*shape: int) -> Tensor:
            drawn = [torch.rand(*shape, generator=generator) for generator in generators]
            return (2 * torch.stack(drawn) - 1) * bound

        self.weight = nn.Parameter(draw(inputs, outputs))  # (P, I, O)
        self.bias = nn.Parameter(draw(1, outputs))  # (P, 1, O)

    def forward(self, x: Tensor) -> Tensor:
        """(P, B, I) -> (P, B, O)."""
        y: Tensor = torch.baddbmm(self.bias, x, self.weight)
        return y

    def single(self, probe: int) -> nn.Linear:
        """Copy one of them out."""
        weight, bias = self.weight[probe].detach(), self.bias[probe, 0].detach()
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.clone()
        return linear


class ProbeStack(nn.Module):
    """P independent probes: one BatchedLinear, or two around a ReLU."""

    def __init__(self, generators: Sequence[torch.Generator], sizes: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(
            BatchedLinear(generators, inputs, outputs) for inputs, outputs in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(P, B, I) -> (P, B, C)."""
        for depth, linear in enumerate(self.linears):
            x = linear(x.relu() if depth else x)
        return x

    def single(self, probe: int) -> nn.Module:
        """Copy one probe out."""
        parts: list[nn.Module] = []
        for linear in self.linears:
            assert isinstance(linear, BatchedLinear)
            parts += [nn.ReLU()] * bool(parts) + [linear.single(probe)]
        return parts[0] if len(parts) == 1 else nn.Sequential(*parts)

    def copy_probes(self, source: ProbeStack, which: Tensor) -> None:
        """Take over the probes that `which` (P,) marks."""
        for ours, theirs in zip(self.parameters(), source.parameters(), strict=True):
            ours[which] = theirs[which]


class BatchedProbes(nn.Module):
    """Probes for each seed on each of L layers and, with two layers or more, on their sum.

    The sum's weights are a softmax of one number per layer, learned with the probe, as in SUPERB
    (Yang et al., Interspeech 2021); it is the last representation of each seed.
    """

    def __init__(
        self, seeds: Sequence[int], num_layers: int, width: int, num_classes: int, hidden: int = 0
    ) -> None:
        super().__init__()
        self.num_seeds, self.num_layers = len(seeds), num_layers
        self.has_sum = num_layers > 1
        self.num_representations = num_layers + self.has_sum
        # One stream for all probes of a seed: no two of them begin alike.
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        sizes = [width, hidden, num_classes] if hidden else [width, num_classes]
        self.on_layers = ProbeStack([s for s in streams for _ in range(num_layers)], sizes)
        if self.has_sum:
            self.on_sum = ProbeStack(streams, sizes)
            self.mixing = nn.Parameter(torch.zeros(len(seeds), num_layers))

    def layer_weights(self) -> Tensor:
        """(S, L), each row adding up to 1; (S, 0) without a sum."""
        return self.mixing.softmax(1) if self.has_sum else torch.zeros(self.num_seeds, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(S, L, B, D) -> (S, R, B, C), R = L or L + 1."""
        logits: Tensor = self.on_layers(x.flatten(0, 1))  # (S, L, B, D) -> (S L, B, C)
        logits = logits.view(self.num_seeds, self.num_layers, *logits.shape[1:])
        if not self.has_sum:
            return logits
        # Apart from the layers, whose inputs need no gradient: that is a third of all the work.
        mixed = torch.einsum("sl,slbd->sbd", self.layer_weights(), x)
        return torch.cat([logits, self.on_sum(mixed)[:, None]], dim=1)

    def single(self, seed: int, representation: int) -> nn.Module:
        """Copy one probe out: an `nn.Linear`, or two of them around a ReLU."""
        if representation == self.num_layers:
            return self.on_sum.single(seed)
        return self.on_layers.single(seed * self.num_layers + representation)

    @torch.no_grad()
    def copy_probes(self, source: BatchedProbes, which: Tensor) -> None:
        """Take over the probes that `which` (S, R) marks from others of this shape."""
        self.on_layers.copy_probes(source.on_layers, which[:, : self.num_layers].flatten())
        if self.has_sum:
            self.on_sum.copy_probes(source.on_sum, which[:, -1])
            self.mixing[which[:, -1]] = source.mixing[which[:, -1]]
