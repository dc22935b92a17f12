"""A device that is not there: tensors that say they lie on it, and what a step asks of it.

The numbers are computed on the CPU. Every operation of a tensor that pretends counts as a kernel,
unless it is a view; what would make the host wait for a GPU counts as a wait, and what crosses from
the host to the device counts in bytes.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

# torch knows this device, has no code for it here, and runs its backward pass in our thread.
DEVICE = torch.device("lazy")
# Their results are as large as the numbers say, or are numbers of the host.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_dim")
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")  # by bools, as nonzero


class Pretending(torch.Tensor):
    """A tensor that says it lies on DEVICE."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretending:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of `counted`")

    def tolist(self) -> Any:
        return self.to("cpu").tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretending({self.held})"


@dataclass
class Counts:
    """What a step asked of the device."""

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    blocking: int = 0  # transfers to the device that the host waits for


class _Counting(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("device")
        to_device = asked is not None and torch.device(asked) == DEVICE
        inputs = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        there = [x for x in inputs if isinstance(x, Pretending)]
        if not there and not to_device:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if to_device:
            kwargs["device"] = "cpu"
        self._count(func, name, args, kwargs, inputs, there, to_device, asked)
        held_args, held_kwargs = tree_map_only(Pretending, lambda x: x.held, (args, kwargs))
        result = func(*held_args, **held_kwargs)
        if name == "_local_scalar_dense" or (asked is not None and not to_device):
            return result  # on the host
        result = tree_map_only(torch.Tensor, Pretending, result)
        if not there:
            return result
        return return_and_correct_aliasing(func, args, kwargs, result)

    def _count(
        self,
        func: Any,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        inputs: list[torch.Tensor],
        there: list[Pretending],
        to_device: bool,
        asked: Any,
    ) -> None:
        counts = self.counts
        by_bool = name in INDEXING and any(
            isinstance(x, torch.Tensor) and x.dtype in (torch.bool, torch.uint8)
            for x in tree_flatten(args[1])[0]
        )
        if name in WAITS or by_bool or (there and asked is not None and not to_device):
            counts.waits[name] += 1
        host = [x for x in inputs if not isinstance(x, Pretending) and x.dim() > 0]
        crosses = (name == "_to_copy" and to_device and not there) or (name == "copy_" and host)
        if crosses:
            counts.sent_bytes += sum(x.numel() * x.element_size() for x in host)
            counts.blocking += not (kwargs.get("non_blocking") or True in args[2:])
        elif not func.is_view and name != "detach":
            counts.kernels[name] += 1


@contextlib.contextmanager
def counted(monkeypatch: Any) -> Iterator[Counts]:
    """Count what the device is asked for; `send` and `.to(DEVICE)` work in here."""
    own: Callable[..., Any] = torch.autocast

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        # torch has no autocast for a device that it has no code for.
        return (
            contextlib.nullcontext()
            if device_type == DEVICE.type
            else own(device_type, *args, **kwargs)
        )

    monkeypatch.setattr(torch, "autocast", autocast)
    counts = Counts()
    with _Counting(counts):
        yield counts


def send(batch: Any) -> Any:
    """Send a batch as fairseq's trainer does (``fairseq.utils.move_to_cuda``)."""
    return tree_map_only(torch.Tensor, lambda x: x.to(DEVICE, non_blocking=True), batch)
