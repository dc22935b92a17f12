"""Sums and rows over processes."""

from typing import Any

import pytest
import torch

from mgf_fairseq.utils.distributed import (
    RankError,
    all_reduce_sum,
    gather_rows,
    ranks_on_this_machine,
    require_alike,
)

pytestmark = pytest.mark.ddp


def gather_rank(rank: int, counts: list[int]) -> dict[str, Any]:
    rows = torch.arange(counts[rank] * 3.0).reshape(-1, 3) + 100 * rank
    rows.requires_grad_()
    gathered = gather_rows(rows, torch.arange(counts[rank]) + 10 * rank)
    # The ranks weigh the rows differently: 1 + rank.
    (gathered.rows.sum() * (1 + rank)).backward()
    return {
        "rows": gathered.rows.detach(),
        "keys": gathered.keys,
        "offset": gathered.offset,
        "grad": rows.grad,
        "here": ranks_on_this_machine(),
        "sum": all_reduce_sum(torch.tensor([1.0, float(rank)])),
    }


@pytest.mark.parametrize("counts", [[3, 1], [0, 2], [2, 2]])
def test_rows_of_unequal_ranks_are_gathered_in_order_with_summed_gradients(ranks, counts):
    results = ranks.run(gather_rank, counts)
    own = [torch.arange(n * 3.0).reshape(-1, 3) + 100 * r for r, n in enumerate(counts)]
    for rank, found in enumerate(results):
        assert torch.equal(found["rows"], torch.cat(own))
        assert found["keys"].tolist() == [
            10 * r + number for r, n in enumerate(counts) for number in range(n)
        ]
        assert found["offset"] == sum(counts[:rank])
        assert torch.equal(found["grad"], torch.full((counts[rank], 3), 3.0))
        assert found["here"] == 2
        assert found["sum"].tolist() == [2.0, 1.0]


def compare_rank(rank: int) -> str:
    require_alike("the rest", number=3)
    with pytest.raises(RankError) as caught:
        require_alike("the batches", number=3, checksum=7 + rank)
    return str(caught.value)


def test_ranks_that_differ_are_shown_in_what_differs(ranks):
    said = "ranks differ in the batches: checksum 7 on rank 0, 8 on rank 1"
    assert ranks.run(compare_rank) == [said, said]


def test_with_one_process_sums_and_gathers_are_the_identity():
    rows = torch.randn(3, 2)
    gathered = gather_rows(rows, torch.arange(3))
    assert gathered.rows is rows and gathered.offset == 0
    assert torch.equal(all_reduce_sum(rows), rows)
    assert ranks_on_this_machine() == 1
