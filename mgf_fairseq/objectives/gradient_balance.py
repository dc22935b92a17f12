"""Gradient norms of the objectives at the encoder: measured, logged, and held at given shares.

The criterion hooks the levels as each part of an objective read them (``PretrainingOutput.views``)
and asks here for the factor of its loss. That shares of the gradient, and not weights of losses,
are what is set is our choice (as in EnCodec's balancer, Defossez et al. 2022): gradients of
four kinds of losses differ by orders of magnitude and change in training; the largest dominates.

A norm is that of the gradient of a part's mean loss at all levels that the part reads, over all
rows of all ranks. Factors come from moving means of earlier updates' norms, so one backward pass
does both: it trains with the present factors and measures for the next. A factor scales the whole
loss, so the part's own heads are scaled alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..losses.precision import at_least_fp32
from ..types import EncoderOutput
from ..utils.distributed import all_reduce_sum

DECAY = 0.98  # of the moving means, per update
_TINY = 1e-300  # fp64: a denominator that may be 0


def view_apart(encoded: EncoderOutput) -> EncoderOutput:
    """Give all levels as views: the same values, at which one part's gradient can be met alone."""
    return replace(
        encoded,
        latents=encoded.latents.view_as(encoded.latents),
        context=encoded.context.view_as(encoded.context),
        hidden_states=[x.view_as(x) for x in encoded.hidden_states],
    )


class GradientBalance:
    """Norms of the parts' gradients, and the factors that give each part its share.

    The host holds the means and factors, in fp64, whatever the model computes in; what an update
    measures comes from the device once, at its end. All ranks hold the same, since what they
    measure is summed before it is used.
    """

    def __init__(self, parts: Sequence[str], shares: Mapping[str, float] | None) -> None:
        """Begin without a measurement.

        Args:
            parts: names of all parts, in the order of the factors.
            shares: part -> share of the gradient, in any unit; None only measures.
        """
        self.parts = tuple(parts)
        self.shares: Tensor | None = None
        if shares is not None:
            given = torch.tensor([shares[part] for part in parts], dtype=torch.float64)
            self.shares = given / given.sum()
        zeros = torch.zeros(len(self.parts), dtype=torch.float64)
        # Moving means are sum over weight, so that the first updates count in full.
        self._sum, self._weight = zeros, zeros
        self._unit = zeros.sum()  # what undoes the scale of the backward pass in progress
        # Since the last update: norms of gradients with the unit of each, and backward passes.
        self._met: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.parts]
        self._measured = zeros
        self._pulls = self._norms = self._factors = zeros  # of the last update
        self._arrived: Sequence[float] | None = None  # what was pending in this update
        self._cosines: dict[str, Tensor] = {}  # that have not come to the host yet
        self._last_cosines: dict[str, float] = {}

    def factors(self) -> Tensor:
        """Give the factor of each part's mean loss: (K,) fp64.

        They keep the norms in proportion to the shares, and the size of the whole at the mean of
        the logarithms of the norms: no loss with a steep gradient makes the update larger.
        """
        assert self.shares is not None
        known = self._weight > 0
        norms = torch.where(known, self._sum / self._weight.clamp(min=_TINY), 1.0)
        share = self.shares * known
        size = ((share * norms.log()).sum() / share.sum().clamp(min=_TINY)).exp()
        return torch.where(known, self.shares * size / norms, self.shares)

    # ---- measuring

    def listen(
        self,
        loss: Tensor,
        views: Mapping[str, EncoderOutput],
        ranks: float,
        counted: Sequence[bool],
    ) -> None:
        """Measure in the backward pass of ``loss`` what comes back to each part's levels.

        Args:
            loss: what ``backward`` is called on, multiplied by a loss scale perhaps, which is found
                in the gradient that comes to it first.
            views: part -> levels.
            ranks: the factor by which each rank's loss is larger than its part of the mean.
            counted: K, parts that had something to count on some rank.
        """
        weight = torch.tensor(counted, dtype=torch.float64)

        def begin(gradient: Tensor) -> None:
            scale = gradient.detach().double() * ranks
            self._unit = torch.where(scale > 0, 1.0 / scale, 0.0)  # 0: a batch of no weight
            self._measured = self._measured + weight

        loss.register_hook(begin)  # type: ignore[no-untyped-call]
        for number, part in enumerate(self.parts):

            def take(gradient: Tensor, number: int = number) -> None:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                norm = torch.linalg.vector_norm(gradient.detach(), dtype=wide)
                self._met[number].append((norm, self._unit))

            view = views[part]
            for level in (view.latents, view.context, *view.hidden_states):
                if level.requires_grad:
                    level.register_hook(take)  # type: ignore[no-untyped-call]

    def compare(self, loss_sums: Mapping[str, Tensor], shared: Tensor) -> None:
        """Measure the cosines between the parts' gradients at a tensor that all of them reach.

        Takes a backward pass per part down to it, without the parameters. All ranks must call it
        together: objectives may talk to each other across ranks.
        """
        gradients = []
        for part in self.parts:
            (gradient,) = torch.autograd.grad(
                loss_sums[part], shared, retain_graph=True, allow_unused=True
            )
            gradients.append(torch.zeros_like(shared) if gradient is None else gradient)
        flat = torch.stack([at_least_fp32(gradient).flatten() for gradient in gradients])
        products = all_reduce_sum(flat @ flat.T)  # (K, K)
        lengths = products.diagonal().sqrt()
        cosines = products / (lengths[:, None] * lengths)
        for first, name in enumerate(self.parts):
            for second in range(first + 1, len(self.parts)):
                pair = f"cosine_{name}-{self.parts[second]}"
                self._cosines[pair] = cosines[first, second].double()

    def pending(self) -> Tensor:
        """Give what :meth:`take` needs from the device, (n,) fp64; all ranks ask together."""
        squares = _summed_squares(self._met, self._unit)
        return torch.cat([all_reduce_sum(squares), *self._pending_cosines()])

    def take(self, numbers: Sequence[float]) -> None:
        """Receive on the host what was pending."""
        self._arrived = numbers[: len(self.parts)]
        self._take_cosines(numbers[len(self.parts) :])

    def finish(self, factors: Sequence[float]) -> None:
        """End an update that trained with these factors: take its norms into the means.

        A norm that is not finite, or of a part that had nothing to count, changes no mean. What is
        pending is fetched, if nobody has.
        """
        if self._arrived is None:
            self.take(self.pending().tolist())
        squares = torch.tensor(self._arrived, dtype=torch.float64)
        used = torch.tensor(factors).double()  # of fp32, as the losses were scaled
        pulls = (squares / self._measured.clamp(min=1.0)).sqrt()
        norms = pulls / used
        valid = torch.isfinite(norms) & (norms > 0)
        self._sum = torch.where(valid, DECAY * self._sum + norms, self._sum)
        self._weight = torch.where(valid, DECAY * self._weight + 1.0, self._weight)
        self._pulls, self._norms = pulls, torch.where(valid, norms, torch.nan)
        self._factors = used
        self.drop()

    def drop(self) -> None:
        """Forget what was measured in an update that is skipped."""
        self._measured = torch.zeros_like(self._measured)
        self._met = [[] for _ in self.parts]
        self._arrived = None

    def _pending_cosines(self) -> list[Tensor]:
        return [torch.stack(list(self._cosines.values()))] if self._cosines else []

    def _take_cosines(self, values: Sequence[float]) -> None:
        self._last_cosines |= dict(zip(self._cosines, values, strict=True))
        self._cosines = {}

    # ---- the log and the checkpoint

    def numbers(self) -> dict[str, float]:
        """Give what to log of the last update.

        ``pull_<part>``, the share of the parts' summed norms, as trained; ``norm_<part>``, of the
        mean loss before its factor; ``factor_<part>``, under shares; ``cosine_<part>-<part>``, as
        of the last comparison.
        """
        names = [f"pull_{part}" for part in self.parts] + [f"norm_{part}" for part in self.parts]
        values = [*(self._pulls / self._pulls.sum()), *self._norms]
        if self.shares is not None:
            names += [f"factor_{part}" for part in self.parts]
            values += [*self._factors]
        found = dict(zip(names, torch.stack(values).tolist(), strict=True))
        for cosines in self._pending_cosines():
            self._take_cosines(cosines.tolist())
        found |= self._last_cosines
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, list[float]]:
        """Give the moving means, as plain numbers."""
        both = torch.stack([self._sum, self._weight], dim=1).tolist()
        return dict(zip(self.parts, both, strict=True))

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Take moving means up again; a part that they do not name begins without."""
        both = [state.get(part, (0.0, 0.0)) for part in self.parts]
        self._sum, self._weight = torch.tensor(both, dtype=torch.float64).unbind(1)


def _summed_squares(met: Sequence[Sequence[tuple[Tensor, Tensor]]], unit: Tensor) -> Tensor:
    """Add up the squares of each part's norms in their units: (K,) fp64, where the unit lies."""
    each = [pair for pairs in met for pair in pairs]
    if not each:
        return unit.new_zeros(len(met))
    norms, units = (torch.stack(values).double() for values in zip(*each, strict=True))
    squares = norms.square() * units.square()  # (n,), those of a part side by side
    of_parts = torch.split(squares, [len(pairs) for pairs in met])
    return torch.stack([part.sum() for part in of_parts])
