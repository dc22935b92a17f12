"""Span masks: where they lie, how many there are, and what they depend on."""

import numpy as np
import pytest
import torch
from tiny_encoder import padded, tiny

from mgf_fairseq.encoder.masking import SpanMask, draw_masks
from mgf_fairseq.utils.rng import generator


def spans_of(mask: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [int(b - a) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def masks(spans: SpanMask, sizes: list[int], update: int = 3, seed: int = 1) -> np.ndarray:
    rows = list(range(len(sizes)))
    return draw_masks(spans, sizes, max(sizes), seed=seed, update=update, rows=rows)


def test_masks_never_lie_on_padding() -> None:
    sizes = [30, 60, 100]
    for row, size in zip(masks(SpanMask(0.65, 10), sizes), sizes, strict=True):
        assert not row[size:].any()
        assert row[:size].any()


def test_the_same_seed_update_and_row_give_the_same_mask_in_any_batch() -> None:
    spans = SpanMask(0.65, 10)
    batch = draw_masks(spans, [50, 80, 70], 80, seed=1, update=7, rows=[5, 6, 7])
    alone = draw_masks(spans, [80], 90, seed=1, update=7, rows=[6])
    assert (batch[1] == alone[0, :80]).all()


@pytest.mark.parametrize("change", [{"seed": 2}, {"update": 8}, {"rows": [9]}, {"axis": 1}])
def test_another_seed_update_row_or_axis_gives_another_mask(change: dict) -> None:
    base = {"seed": 1, "update": 7, "rows": [6]}
    first = draw_masks(SpanMask(0.65, 10), [400], 400, **base)
    second = draw_masks(SpanMask(0.65, 10), [400], 400, **{**base, **change})
    assert (first != second).any()


def test_static_spans_are_unions_of_spans_of_the_given_length() -> None:
    for row in masks(SpanMask(0.3, 10), [200] * 20):
        assert all(length >= 10 for length in spans_of(row))


def test_the_masked_share_matches_its_expectation() -> None:
    """prob 0.65, length 10, 1,000 rows of 500 frames: 32 or 33 starts without repetition.

    A frame stays free if no start lies in the 10 positions that cover it: about
    (1 - 10/491)^32.5 = 0.512. The mean over rows has a standard error below 0.002 (measured
    deviation per row 0.03 / sqrt(1000)), so 0.01 fails by chance less than once in 1e6.
    """
    share = masks(SpanMask(0.65, 10), [500] * 1000).mean()
    assert abs(share - 0.488) < 0.01


def test_spans_without_overlap_keep_their_distance() -> None:
    for row in masks(SpanMask(0.5, 7, no_overlap=True), [300] * 50):
        assert set(spans_of(row)) <= {7}  # two that touch would be one of 14


@pytest.mark.parametrize("no_overlap", [False, True])
def test_every_position_can_begin_a_span_up_to_the_last_with_room(no_overlap: bool) -> None:
    drawn = masks(SpanMask(0.4, 4, no_overlap=no_overlap), [12] * 400)
    starts = {int(row.argmax()) for row in drawn if row.sum() == 4}
    # Nine places, more than 200 rows of one span: one is missed with probability 9 * (8/9)^200.
    assert sum(row.sum() == 4 for row in drawn) > 200
    assert starts == set(range(9))


@pytest.mark.parametrize(("selection", "other"), [("uniform", 2), ("normal", 3), ("poisson", 0)])
@pytest.mark.parametrize("no_overlap", [False, True])
def test_span_lengths_of_every_distribution_have_its_mean(
    selection: str, other: float, no_overlap: bool
) -> None:
    spans = SpanMask(0.5, 10, selection, other, no_overlap)
    lengths = spans._lengths(20000, 1000, generator(1, 1, 1))
    expected = (2 + 20) / 2 if selection == "uniform" else 10
    # 20,000 draws of deviation < 6: standard error < 0.043, five of them are 0.22.
    assert abs(lengths.mean() - expected) < 0.22
    assert spans.draw(200, generator(1, 1, 1)).any()


def test_a_row_as_short_as_a_span_stays_unmasked_and_of_a_longer_one_something_stays() -> None:
    assert not masks(SpanMask(0.65, 10), [10, 1] * 30).any()
    # One span of a random length, which is cut to the row's but one.
    drawn = masks(SpanMask(0.65, 10, "poisson", min_spans=1), [11] * 300)
    assert drawn.any(axis=1).all() and not drawn.all(axis=1).any()
    assert (drawn.sum(axis=1) == 10).any()


def test_the_expected_number_of_spans_is_exact_where_it_is_no_whole_number() -> None:
    # 0.65 * 20 / 10 = 1.3 spans: two in 30 percent of the rows, which then mask more than 10.
    more = masks(SpanMask(0.65, 10), [20] * 2000).sum(axis=1) > 10
    # Standard error 0.0102; five of them.
    assert abs(more.mean() - 0.3) < 0.051


def test_a_probability_above_1_masks_more_since_spans_overlap() -> None:
    # 1 - exp(-1.1) = 0.667 of a long row; spans of 10 of 1,000 at distinct starts come close.
    assert masks(SpanMask(1.1, 10), [1000] * 50).mean() == pytest.approx(0.667, abs=0.02)


def test_probability_zero_masks_nothing() -> None:
    assert not masks(SpanMask(0.0, 10), [100]).any()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((65.0, 10), "mask_prob"),
        ((-0.1, 10), "mask_prob"),
        ((0.5, 0), "mask_length"),
        ((0.5, 10, "gauss"), "mask_selection"),
    ],
)
def test_bad_values_are_named(values: tuple, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SpanMask(*values)


def test_a_row_that_is_longer_than_a_span_has_one_whatever_the_share() -> None:
    encoder = tiny(mask_prob=0.01, mask_length=4).train()
    output, _ = encoder.encode(*padded(*[2000] * 30), mask=True, row_id=torch.arange(30))
    assert output.mask_indices.sum(dim=1).tolist() == [4] * 30
