"""How hard each objective pulls at the encoder: measured, logged, and held at its share if asked.

The criterion hooks the levels as each part of an objective read them (``PretrainingOutput.views``)
and asks here for the factor of its loss. That shares of the gradient, and not weights of losses,
are what is set is our choice (as in EnCodec's balancer, Defossez et al. 2022): losses of four kinds
differ in gradient by orders of magnitude and as training goes on, and the largest drowns the rest.

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

    Nothing here waits for the device; numbers are fp64, whatever the model computes in. All ranks
    hold the same, since what they measure is summed before it is used.
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
        self._squares, self._measured = [zeros[0]] * len(self.parts), zeros  # since the last update
        self._unit = zeros.sum()  # what undoes the scale of the backward pass in progress
        self._pulls = self._norms = self._factors = zeros  # of the last update
        self._cosines: dict[str, Tensor] = {}  # since the last look at the numbers
        self._last_cosines: dict[str, float] = {}

    def factors(self, device: torch.device) -> Tensor:
        """Say what each part's mean loss is multiplied by: (K,) fp64.

        They keep the norms in proportion to the shares, and the size of the whole at the mean of
        the logarithms of the norms: no loss with a steep gradient makes the update larger.
        """
        self._move_to(device)
        assert self.shares is not None
        known = self._weight > 0
        norms = torch.where(known, self._sum / self._weight.clamp(min=_TINY), 1.0)
        share = self.shares * known
        size = ((share * norms.log()).sum() / share.sum().clamp(min=_TINY)).exp()
        return torch.where(known, self.shares * size / norms, self.shares)

    @property
    def device(self) -> torch.device:
        """Where the numbers lie: with the loss, once there was one."""
        return self._sum.device

    def _move_to(self, device: torch.device) -> None:
        if self._sum.device == device:
            return
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        self._squares = [square.to(device) for square in self._squares]

    # ---- measuring

    def listen(
        self, loss: Tensor, views: Mapping[str, EncoderOutput], ranks: Tensor, counted: Tensor
    ) -> None:
        """Measure in the backward pass of ``loss`` what comes back to each part's levels.

        Args:
            loss: what ``backward`` is called on, multiplied by a loss scale perhaps, which is found
                in the gradient that comes to it first.
            views: part -> levels.
            ranks: () the factor by which each rank's loss is larger than its part of the mean.
            counted: (K,) bool, parts that had something to count on some rank.
        """
        self._move_to(loss.device)

        def begin(gradient: Tensor) -> None:
            scale = gradient.detach().double() * ranks
            self._unit = torch.where(scale > 0, 1.0 / scale, 0.0)  # 0: a batch of no weight
            self._measured = self._measured + counted

        loss.register_hook(begin)  # type: ignore[no-untyped-call]
        for number, part in enumerate(self.parts):

            def take(gradient: Tensor, number: int = number) -> None:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                square = torch.linalg.vector_norm(gradient.detach(), dtype=wide).double().square()
                self._squares[number] = self._squares[number] + square * self._unit.square()

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

    def finish(self, factors: Tensor) -> None:
        """End an update that trained with these factors: take its norms into the means.

        A norm that is not finite, or of a part that had nothing to count, changes no mean.
        """
        squares = all_reduce_sum(torch.stack(self._squares))
        pulls = (squares / self._measured.clamp(min=1.0)).sqrt()
        norms = pulls / factors
        valid = torch.isfinite(norms) & (norms > 0)
        self._sum = torch.where(valid, DECAY * self._sum + norms, self._sum)
        self._weight = torch.where(valid, DECAY * self._weight + 1.0, self._weight)
        self._pulls, self._norms = pulls, torch.where(valid, norms, torch.nan)
        self._factors = factors
        self.drop()

    def drop(self) -> None:
        """Forget what was measured in an update that is skipped."""
        self._measured = torch.zeros_like(self._measured)
        self._squares = list(self._measured)

    # ---- the log and the checkpoint

    def numbers(self) -> dict[str, float]:
        """Give what to log of the last update, in one transfer from the device.

        ``pull_<part>``, the share of the parts' summed norms, as trained; ``norm_<part>``, of the
        mean loss before its factor; ``factor_<part>``, under shares; ``cosine_<part>-<part>``, as
        of the last comparison.
        """
        names = [f"pull_{part}" for part in self.parts] + [f"norm_{part}" for part in self.parts]
        values = [*(self._pulls / self._pulls.sum()), *self._norms]
        if self.shares is not None:
            names += [f"factor_{part}" for part in self.parts]
            values += [*self._factors]
        values += self._cosines.values()
        found = dict(zip([*names, *self._cosines], torch.stack(values).tolist(), strict=True))
        self._last_cosines |= {name: found.pop(name) for name in self._cosines}
        self._cosines = {}
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
