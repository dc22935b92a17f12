"""The phoneme objective: targets, and where negatives come from."""

import math
from dataclasses import replace

import pytest
import torch
from encoded import build, encoded_batch, row_of


def test_detached_targets_keep_the_phoneme_objective_off_the_latents() -> None:
    encoded, batch = encoded_batch()
    build("phoneme", target_gradient=False)(encoded, batch).loss_sum.backward()
    assert encoded.latents.grad is None


def test_negatives_come_from_the_own_row_are_never_the_positive_and_reach_every_place() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", num_negatives=200)
    index, there = objective.draw_negatives(encoded.mask_indices, batch)
    assert there.all()
    row = encoded.mask_indices.nonzero()[:, 0]
    own = torch.arange(len(row))[:, None]
    assert (index != own).all()
    assert (row[index] == row[:, None]).all()
    # 5 candidates, 200 draws: one is missed with probability 5 * 0.8^200 < 1e-18.
    assert all(len(set(line.tolist())) == 5 for line in index)


def test_cross_sample_negatives_come_from_other_rows_only() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", num_negatives=1, cross_sample_negatives=300)
    index = objective.draw_negatives(encoded.mask_indices, batch)[0][:, 1:]
    row = encoded.mask_indices.nonzero()[:, 0]
    assert (row[index] != row[:, None]).all()
    # 18 candidates, 300 draws: one is missed with probability 18 * (17/18)^300 < 1e-6.
    assert len(set(index[0].tolist())) == 18


def test_among_two_candidates_a_guess_is_right_every_second_time_and_costs_log_2() -> None:
    encoded, batch = encoded_batch()
    hot = build("phoneme", num_negatives=1, logit_temp=1e6)(encoded, batch)
    total, count = hot.metrics["chance"]
    assert float(count) == float(hot.count) == float(encoded.mask_indices.sum())
    assert float(total) == pytest.approx(float(count) / 2)
    assert float(hot.loss_sum.detach()) == pytest.approx(float(count) * math.log(2), rel=1e-4)


def test_negatives_change_with_the_update_and_stay_for_the_same_row_in_another_batch() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme")
    first, _ = objective.draw_negatives(encoded.mask_indices, batch)
    later = replace(batch, draw=6)
    assert not torch.equal(first, objective.draw_negatives(encoded.mask_indices, later)[0])
    one, of_one = row_of(encoded, batch, 2)
    alone, _ = objective.draw_negatives(one.mask_indices, of_one)
    assert torch.equal(alone + 12, first[12:18])
