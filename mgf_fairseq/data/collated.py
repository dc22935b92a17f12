"""Rows as the batch that fairseq takes; from a worker to the trainer only its samples travel.

What the dataset's collater returns. Each tensor that passes between processes costs a connection
and memory of its own, so all but the samples is made again on arrival.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ..encoder.padding import host_padding_mask
from ..types import HostRows
from ..utils.transfer import as_bits


def padded(views: Sequence[Tensor], least: int = 0) -> Tensor:
    """B of (S,) fp32 -> (B, S) as their bits, zeros where a view is shorter; S >= `least`.

    Bits (``utils.transfer``), since fairseq's ``common.fp16`` and ``bf16`` round float32 inputs
    before the task sees them, and the acoustic targets need the whole precision. In a loader's
    worker the result lies in memory that other processes can read.
    """
    width = max(least, *(len(view) for view in views))
    rows = torch.empty(0)
    if get_worker_info() is not None:
        size = len(views) * width * rows.element_size()
        rows = rows.set_(torch.UntypedStorage._new_shared(size))  # type: ignore[no-untyped-call]
    rows = rows.resize_(len(views), width)
    for row, view in zip(rows.numpy(), views, strict=True):
        row[: len(view)] = view.numpy()
        row[len(view) :] = 0
    return as_bits(rows)


class Collated(dict[str, Any]):
    """A batch as :func:`batch_of` makes it, which makes it again in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        inputs = self["net_input"]
        parts = inputs["source"], inputs.get("clean"), inputs["rows"], self["entries"]
        lines = inputs["utterance"].tolist()
        return batch_of, (*parts, lines), None, None, self._counts()

    def _counts(self) -> Iterator[tuple[str, Any]]:
        yield "num_skipped", self["num_skipped"]


def batch_of(
    source: Tensor,
    clean: Tensor | None,
    rows: HostRows,
    entries: list[str],
    lines: Sequence[int],
) -> Collated:
    """Make a batch.

    Args:
        source: (B, S) int32, the bits of the fp32 samples that the encoder hears.
        clean: the same of what the targets are made of; None: of the source.
        rows: what the host knows of them.
        entries: B, what messages call them.
        lines: B lines of the manifest.
    """
    utterance = torch.tensor(lines)
    net_input = {
        "source": source,
        "padding_mask": host_padding_mask(rows.num_samples, source.shape[1]),
        "utterance": utterance,
        "row_id": torch.tensor(rows.row_id),
        "rows": rows,
    }
    if clean is not None:
        net_input["clean"] = clean
    return Collated(id=utterance, entries=entries, net_input=net_input, num_skipped=0)
