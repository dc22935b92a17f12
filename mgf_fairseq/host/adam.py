"""fairseq's Adam as one operation over all parameters instead of a loop of Python over each.

patches.py puts it in the place of the loop. The state is the same, so checkpoints of either resume
under the other, and so are the numbers but for the rounding of fp32.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def fused(own: Callable[..., Any]) -> Callable[..., Any]:
    """Make the step of ``fairseq.optim.adam.Adam`` from its own, which takes what does not fit.

    What fits is fp32 on one device, without ``amsgrad`` or sparse gradients.
    """

    @functools.wraps(own)
    def step(self: Any, closure: Callable[[], Any] | None = None) -> Any:
        if closure is not None or not _fits(self.param_groups):
            return own(self, closure)
        with torch.no_grad():
            for group in self.param_groups:
                _step_group(self.state, group)
        return None

    return step


def _fits(groups: list[dict[str, Any]]) -> bool:
    moved = [p for group in groups for p in group["params"] if p.grad is not None]
    return (
        not any(group.get("amsgrad", False) for group in groups)
        and len({p.device for p in moved}) == 1
        and all(x.dtype == torch.float32 and not x.is_sparse for p in moved for x in (p, p.grad))
    )


def _step_group(state: Mapping[Any, dict[str, Any]], group: dict[str, Any]) -> None:
    """Step the parameters of a group; those that began at other updates apart."""
    alike: dict[int, list[Tensor]] = defaultdict(list)
    for p in group["params"]:
        if p.grad is None:
            continue
        own = state[p]
        if not own:
            own |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        for name in ("exp_avg", "exp_avg_sq"):
            own[name] = own[name].to(p)
        own["step"] += 1
        alike[own["step"]].append(p)
    beta1, beta2 = group["betas"]
    for number, parameters in alike.items():
        torch._fused_adamw_(
            [p.data for p in parameters],
            [p.grad for p in parameters if p.grad is not None],
            [state[p]["exp_avg"] for p in parameters],
            [state[p]["exp_avg_sq"] for p in parameters],
            [],
            [torch.full((), float(number), device=parameters[0].device)] * len(parameters),
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            # torch adds eps to the corrected root of the second moment, fairseq to the root itself.
            eps=group["eps"] / math.sqrt(1 - beta2**number),
            maximize=False,
        )
