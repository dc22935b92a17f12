"""Phoneme targets as long as a phoneme: what they are, and what they teach."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from test_objectives import SHAPE, build, encoded_batch, row_of
from torch import Tensor, nn

from mgf_fairseq.losses.contrastive import contrast_pool, contrast_rows
from mgf_fairseq.objectives import build_objectives
from mgf_fairseq.objectives.phoneme import windows
from mgf_fairseq.types import EncoderOutput

OFFSETS = (-6, -3, 0, 3, 6)
WINDOWS: dict[str, Any] = {"target": "mfcc", "offsets": OFFSETS, "frames": "all"}
FORMS: dict[str, dict[str, Any]] = {
    "all other frames": {**WINDOWS, "num_negatives": 0},
    "asked at masked frames": {**WINDOWS, "num_negatives": 0, "frames": "masked"},
    "drawn": {**WINDOWS, "num_negatives": 7},
    "drawn, masked": {**WINDOWS, "num_negatives": 7, "frames": "masked"},
    "mel, three frames": {**WINDOWS, "target": "mel", "offsets": (-2, 0, 2), "num_negatives": 0},
    "latents": {"target": "latents", "offsets": OFFSETS, "frames": "all", "num_negatives": 0},
    "regression": {**WINDOWS, "kind": "regression"},
}


def slow_windows(values: np.ndarray, num_frames: list[int]) -> np.ndarray:
    """Frame by frame: (B, T, F) -> (B, T, F * 5), zeros on padding."""
    rows, width, bins = values.shape
    result = np.zeros((rows, width, bins * len(OFFSETS)))
    for row, length in enumerate(num_frames):
        for frame in range(length):
            places = [min(max(frame + by, 0), length - 1) for by in OFFSETS]
            result[row, frame] = np.concatenate([values[row, place] for place in places])
    return result


def test_windows_are_the_frames_around_each_frame_and_end_with_the_row() -> None:
    values, lengths = torch.randn(3, 20, 4, dtype=torch.float64), [20, 9, 1]
    found = windows(values, torch.tensor(lengths), OFFSETS).numpy()
    expected = slow_windows(values.numpy(), lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(found[row, :length], expected[row, :length])


def test_the_target_is_the_normalized_mfcc_of_the_window() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", **FORMS["all other frames"])
    found = objective.target_windows(encoded, batch).numpy()
    lengths = encoded.num_frames.tolist()
    objective.features.normalization = "none"
    raw = objective.features(
        batch.waveform, batch.padding_mask, 30, ~encoded.padding_mask
    )["mfcc"].double().numpy()  # fmt: skip
    for row, length in enumerate(lengths):
        part = raw[row, :length]
        raw[row, :length] = (part - part.mean(0)) / part.std(0)
    expected = slow_windows(raw, lengths)
    for row, length in enumerate(lengths):
        # fp32 against fp64.
        np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=2e-4)


# ---- the loss


def slow_contrast(
    queries: np.ndarray, keys: np.ndarray, asked: np.ndarray, valid: np.ndarray
) -> tuple[float, int, int, float, float]:
    """One frame at a time."""
    loss, num, correct, chance, guess = 0.0, 0, 0, 0.0, 0.0

    def logit(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b) / 0.1)

    for row in range(len(queries)):
        for t in np.flatnonzero(asked[row] & valid[row]):
            others = [
                keys[row, u]
                for u in np.flatnonzero(valid[row])
                if u != t and not (keys[row, u] == keys[row, t]).all()
            ]
            if not others:
                continue
            positive = logit(queries[row, t], keys[row, t])
            logits = [logit(queries[row, t], other) for other in others]
            loss += math.log(sum(map(math.exp, [positive, *logits]))) - positive
            num += 1
            correct += all(positive > x for x in logits)
            chance += 1 / (1 + len(others))
            guess += math.log(1 + len(others))
    return loss, num, correct, chance, guess


def test_the_contrast_with_all_other_frames_of_a_row_equals_its_oracle() -> None:
    queries, keys = torch.randn(2, 4, 9, 5, dtype=torch.float64).unbind(0)
    queries = queries + keys
    valid = torch.arange(9) < torch.tensor([9, 6, 1, 2])[:, None]
    asked = torch.rand(4, 9) < 0.7
    asked[3] = asked[0, 5] = True
    keys[0, 3] = keys[0, 5]  # a copy of the positive is no negative
    keys[3, 1] = keys[3, 0]  # and here it was the only one
    found = contrast_rows(queries, keys, asked, valid, 0.1)
    arrays = (x.numpy() for x in (queries, keys, asked, valid))
    assert [float(x) for x in found] == pytest.approx(slow_contrast(*arrays), rel=1e-10)


def test_equal_embeddings_cost_what_guessing_costs() -> None:
    keys = torch.eye(12).expand(2, 12, 12)  # distinct, and all as far from each query
    found = contrast_rows(
        torch.ones(2, 12, 12), keys, *torch.ones(2, 2, 12, dtype=torch.bool).unbind(0), 0.1
    )
    assert float(found.loss_sum) == pytest.approx(24 * math.log(12), rel=1e-6)
    assert float(found.guess) == pytest.approx(24 * math.log(12), rel=1e-6)
    assert float(found.chance) == pytest.approx(2.0)


def test_chance_counts_a_negative_that_was_drawn_twice_once_and_its_cost_twice() -> None:
    pool = torch.randn(6, 4)
    index = torch.tensor([[1, 1, 2], [3, 4, 5], [2, 0, 0]])
    valid = torch.ones(3, 3, dtype=torch.bool)
    valid[1, 2] = False
    found = contrast_pool(pool[:3], pool[:3], pool, index, 0.1, valid)
    # The third row draws itself, which is skipped.
    assert float(found.chance) == pytest.approx(1 / 3 + 1 / 3 + 1 / 2)
    assert float(found.guess) == pytest.approx(math.log(4) + math.log(3) + math.log(3))


def test_the_chance_of_drawn_negatives_is_that_of_the_few_frames_of_a_row() -> None:
    encoded, batch = encoded_batch()  # 6 masked frames per row
    output = build("phoneme", num_negatives=200)(encoded, batch)
    chance, guess = (output.metrics[name][0] / output.count for name in ("chance", "guess"))
    assert float(chance) == pytest.approx(1 / 6)
    assert float(guess) == pytest.approx(math.log(201))


def test_a_row_alone_has_no_negatives_from_others() -> None:
    encoded, batch = encoded_batch()
    objective = build("phoneme", num_negatives=4, cross_sample_negatives=50)
    one, of_one = row_of(encoded, batch, 0)
    _, there = objective.draw_negatives(one.mask_indices, of_one)
    assert there[:, :4].all() and not there[:, 4:].any()
    alone = objective(one, of_one)
    near = build("phoneme", num_negatives=4)
    near.load_state_dict(objective.state_dict())
    # The same four negatives: further ones come behind them.
    assert float(alone.loss_sum.detach()) == float(near(one, of_one).loss_sum.detach())


# ---- padding and gradients


@pytest.mark.parametrize("form", FORMS)
def test_a_padded_row_equals_the_unpadded_one(form: str) -> None:
    objective = build("phoneme", **FORMS[form])
    encoded, batch = encoded_batch()
    whole = objective(encoded, batch)
    parts = [objective(*row_of(encoded, batch, row)) for row in range(4)]
    # fp32 sums of a few hundred terms in another order.
    total = sum(float(part.loss_sum.detach()) for part in parts)
    assert float(whole.loss_sum.detach()) == pytest.approx(total, rel=1e-5)
    assert float(whole.count) == sum(float(part.count) for part in parts)
    for name in set(whole.metrics) - {"diversity"}:  # that of a batch is not a sum
        wanted = sum(float(part.metrics[name][0]) for part in parts)
        assert float(whole.metrics[name][0]) == pytest.approx(wanted, rel=1e-5), name


@pytest.mark.parametrize("form", FORMS)
def test_what_lies_on_padding_changes_nothing_and_gets_no_gradient(form: str) -> None:
    objective = build("phoneme", **FORMS[form])
    encoded, batch = encoded_batch()
    before = objective(encoded, batch)
    before.loss_sum.backward()
    for level in (encoded.latents, encoded.context):
        if level.grad is not None:
            assert not level.grad[encoded.padding_mask].any()
    spoiled = {
        name: getattr(encoded, name).detach().masked_fill(encoded.padding_mask[..., None], math.inf)
        for name in ("latents", "context")
    }
    noise = torch.where(batch.padding_mask, 1e3 * torch.randn_like(batch.waveform), batch.waveform)
    after = objective(
        dataclasses.replace(encoded, **spoiled), dataclasses.replace(batch, waveform=noise)
    )
    assert float(after.loss_sum.detach()) == float(before.loss_sum.detach())


@pytest.mark.parametrize("form", FORMS)
def test_every_head_gets_a_gradient_and_latents_only_as_a_target(form: str) -> None:
    objective = build("phoneme", **FORMS[form])
    encoded, batch = encoded_batch()
    objective(encoded, batch).loss_sum.backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    assert encoded.context.grad is not None
    assert (encoded.latents.grad is not None) == (form == "latents")


@pytest.mark.parametrize("form", FORMS)
def test_no_masks_and_one_frame_give_finite_sums(form: str) -> None:
    for frames in ((30, 30), (1, 1)):
        encoded, batch = encoded_batch(frames, masked=False)
        output = build("phoneme", **FORMS[form])(encoded, batch)
        output.loss_sum.backward()
        assert torch.isfinite(output.loss_sum)
        assert encoded.context.grad is None or torch.isfinite(encoded.context.grad).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": []}, "offsets=[] must be"),
        ({"offsets": [0, 0]}, "each of them once"),
        ({"offsets": [0.5]}, "offsets=0.5 must be of type int"),
        ({"target": "mfc"}, "target='mfc' is none of latents, mfcc, mel"),
        ({"kind": "regress"}, "kind='regress'"),
        ({"kind": "regression"}, "latents would collapse"),
        ({"num_negatives": -1}, "num_negatives=-1 is negative"),
        ({"num_negatives": 0, "cross_sample_negatives": 5}, "there are none"),
        ({"offset": [0]}, "did you mean 'offsets'"),
    ],
)
def test_a_wrong_setting_of_the_windows_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"model\.objectives\.phoneme") as error:
        build_objectives({"phoneme": changes}, SHAPE)
    assert message in str(error.value)


# ---- a pattern as long as a phoneme


class Planted(nn.Module):
    """In place of the features: a phoneme is what lies two frames before and after its center.

    Each row holds phonemes of two kinds, of five frames: (a, noise, c, noise, b) and (b, noise, c,
    noise, a). So no single frame shows the kind, and the center is the same for both.
    """

    def __init__(self, codes: Tensor, kind: Tensor) -> None:
        super().__init__()
        self.values = 0.3 * torch.randn(len(kind), kind.shape[1] * 5, codes.shape[1])
        before, after = codes[kind], codes[1 - kind]  # (B, phonemes, F)
        self.values[:, 0::5] += before
        self.values[:, 2::5] += codes[2]
        self.values[:, 4::5] += after

    def forward(self, *_: Any) -> dict[str, Tensor]:
        return {"mel": self.values}


def trained(offsets: tuple[int, ...]) -> float:
    """Nats below guessing, at the phonemes' centers, of an encoder that knows their kind alone."""
    torch.manual_seed(0)
    encoded, batch = encoded_batch((60,) * 8)
    kind = torch.randint(2, (8, 12))
    centers = torch.zeros(8, 60, dtype=torch.bool)
    centers[:, 2::5] = True
    context = torch.zeros(8, 60, 16)
    context[..., 0] = 1.0
    context[:, 2::5, 1:3] = nn.functional.one_hot(kind, 2).float()
    settings = {"target": "mel", "offsets": offsets, "num_negatives": 100}
    objective = build("phoneme", frames="masked", **settings)
    objective.features = Planted(torch.randn(3, 80), kind)
    seen = EncoderOutput(**{**vars(encoded), "context": context, "mask_indices": centers})
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for number in range(60):
        output = objective(seen, dataclasses.replace(batch, draw=number))
        optimizer.zero_grad()
        (output.loss_sum / output.count).backward()
        optimizer.step()
    objective.features.values += 0.3 * torch.randn_like(objective.features.values)  # noise anew
    with torch.no_grad():
        output = objective(seen, dataclasses.replace(batch, draw=1000))
    return float((output.metrics["guess"][0] - output.loss_sum) / output.count)


def test_a_pattern_as_long_as_a_phoneme_is_learned_by_windows_and_not_by_single_frames() -> None:
    # Telling the kind halves what the positive is mistaken for: log 2 = 0.69.
    assert trained((-2, 0, 2)) > 0.4
    assert trained((0,)) < 0.05
