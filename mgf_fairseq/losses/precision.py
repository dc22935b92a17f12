"""What all losses share: full precision, matching shapes, and the selection of valid entries.

Every loss computes in fp32 with autocast off (fp64 stays fp64).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def at_least_fp32(values: Tensor) -> Tensor:
    """Bring half precision to fp32; fp64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Casts half-precision arguments to fp32 and switches autocast off around `function`."""

    def cast(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return at_least_fp32(value)
        return value

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        device_type = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device_type=device_type, enabled=False):
            new_kwargs = {k: cast(v) for k, v in kwargs.items()}
            return function(*map(cast, args), **new_kwargs)  # type: ignore[arg-type]

    return wrapper


def check_same(name: str, first: torch.Size, second: torch.Size) -> None:
    """Raise ValueError where two shapes differ; `name` says of what."""
    if first != second:
        raise ValueError(f"{name}: shapes {tuple(first)} and {tuple(second)} must agree")


def only_valid(name: str, prediction: Tensor, target: Tensor, valid: Tensor | None) -> list[Tensor]:
    """Both tensors with zeros where not valid, so that padding has exactly no value or gradient.

    valid None: all is, and nothing is copied.
    """
    check_same(f"{name} prediction and target", prediction.shape, target.shape)
    if valid is None:
        return [prediction, target.detach()]
    check_same(f"{name} valid and prediction", valid.shape, prediction.shape[: valid.dim()])
    hidden = ~valid.reshape(*valid.shape, *(1,) * (prediction.dim() - valid.dim()))
    return [prediction.masked_fill(hidden, 0), target.detach().masked_fill(hidden, 0)]
