"""Shares of the gradient: held, measured, safe, and without effect on any value."""

import dataclasses
import math

import pytest
import tiny
import torch
from balanced import PARTS, ROWS, oracle_norms, part_losses, training, update

from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
from mgf_fairseq.host.iterators import without_weight
from mgf_fairseq.task import BALANCE


def multiply(model, name, factor):
    """Multiply an objective's loss and those of its parts by a number."""
    forward = model.objectives[name].forward

    def multiplied(encoded, batch):
        output = forward(encoded, batch)
        parts = {part: (total * factor, count) for part, (total, count) in output.parts.items()}
        return dataclasses.replace(output, loss_sum=output.loss_sum * factor, parts=parts)

    model.objectives[name].forward = multiplied


@pytest.mark.parametrize(("name", "factor"), [("frame", 1e4), ("utterance", 1e-4)])
def test_each_part_pulls_with_its_share_however_steep_or_flat_its_loss_is(name, factor):
    model, criterion = training()
    multiply(model, name, factor)
    found = []
    for number in range(24):
        # Other rows and other masks each time.
        update(model, criterion, tiny.tiny_sample(range(number, number + 6)), number)
        criterion.finish_update()
        found.append(criterion.balance.numbers())
    for part, share in tiny.SHARES.items():
        # Norms differ from batch to batch, and the factors follow their mean.
        pull = sum(numbers[f"pull_{part}"] for numbers in found[8:]) / len(found[8:])
        assert pull == pytest.approx(share, rel=0.1), part
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_measured_norms_are_those_of_one_backward_pass_per_part_at_any_loss_scale():
    sample = tiny.tiny_sample(ROWS)
    for loss_scale in (1.0, 2.0**12):
        model, criterion = training()
        wanted = oracle_norms(model, sample)
        update(model, criterion, sample, loss_scale=loss_scale)
        criterion.finish_update()
        numbers = criterion.balance.numbers()
        for part, norm in wanted.items():
            # fp32, in one pass and in five.
            assert numbers[f"norm_{part}"] == pytest.approx(norm, rel=1e-4), part


def test_the_total_gradient_is_the_sum_of_single_gradients_by_shares_over_norms():
    sample, later = tiny.tiny_sample(ROWS), tiny.tiny_sample(range(6, 12))
    model, criterion = training()
    norms = oracle_norms(model, sample)
    update(model, criterion, sample)
    criterion.finish_update()
    update(model, criterion, later, 1)
    total = [p.grad.clone() for p in model.parameters()]
    size = math.exp(sum(tiny.SHARES[part] * math.log(norms[part]) for part in PARTS))
    losses, _ = part_losses(model, later)
    expected = [torch.zeros_like(p) for p in total]
    for part, loss in losses.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        for number, p in enumerate(model.parameters()):
            if p.grad is not None:
                expected[number] += tiny.SHARES[part] * size / norms[part] * p.grad
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for found, wanted in zip(total, expected, strict=True):
        # fp32: one backward pass adds up where five passes were added afterwards.
        torch.testing.assert_close(found / largest, wanted / largest, rtol=0, atol=2e-5)


def test_shares_leave_every_logged_loss_as_it_is_and_the_sum_is_by_shares():
    sample = tiny.tiny_sample(ROWS)
    model, criterion = training()
    _, weighted_model, weighted = tiny.tiny_training()
    _, log = update(model, criterion, sample)
    criterion.finish_update()
    _, later = update(model, criterion, sample)
    _, other = update(weighted_model.train(), weighted.train(), sample)
    names = [f"sum:loss_{name}" for name in tiny.OBJECTIVES]
    assert all(log[name] == later[name] == other[name] for name in names)
    losses, _ = part_losses(model, sample)
    expected = sum(tiny.SHARES[part] * float(loss.detach()) for part, loss in losses.items())
    # Though the factors have changed in between.
    assert float(log["loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(later["loss"]) == pytest.approx(expected, rel=1e-5)


def test_a_share_of_0_is_absence():
    sample = tiny.tiny_sample(ROWS)
    without = [name for name in tiny.OBJECTIVES if name != "utterance"]
    found = []
    for names, shares in ((tiny.OBJECTIVES, {"utterance": 0.0}), (without, {})):
        _, whole, _ = tiny.tiny_training()
        model, criterion = training(tuple(names), shares)
        model.load_state_dict(
            {k: v for k, v in whole.state_dict().items() if k in model.state_dict()}
        )
        for number in range(2):
            update(model, criterion, sample, number)
            criterion.finish_update()
        found.append((criterion, {name: p.grad for name, p in model.named_parameters()}))
    (with_zero, gradients), (absent, expected) = found
    for name, gradient in expected.items():
        # fp32: one zero more in a sum.
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)
    assert not any(
        g.any() for name, g in gradients.items() if name.startswith("objectives.utterance")
    )
    numbers, wanted = with_zero.balance.numbers(), absent.balance.numbers()
    assert numbers.pop("pull_utterance") == numbers.pop("factor_utterance") == 0.0
    assert numbers == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gradient_shares": {"frame": 1, "frame_maskd": 1}}, ["did you mean 'frame_masked'"]),
        ({"gradient_shares": {"frame": 1}}, ["'frame'", "'frame_masked'", r"model\.objectives"]),
        ({"gradient_shares": {"frame": 0, "frame_masked": 0}}, ["all 0"]),
        ({"gradient_shares": {"frame": -1, "frame_masked": 1}}, ["gradient_shares.frame=-1"]),
        ({"gradient_shares": {"frame": "much", "frame_masked": 1}}, ["'much'"]),
        ({"gradient_shares": {"frame": True, "frame_masked": 1}}, ["True"]),
        ({"gradient_shares": 3}, ["gradient_shares=3", "map"]),
        (
            {"gradient_shares": {"frame": 1, "frame_masked": 1}, "loss_weights": {"frame": 1}},
            ["two ways", "give one"],
        ),
        ({"loss_weights": {"fram": 1}}, ["did you mean 'frame'"]),
        ({"cosine_interval": -1, "loss_weights": {"frame": 1}}, ["cosine_interval=-1"]),
    ],
)
def test_a_wrong_share_is_named(settings, words):
    task, _, _ = tiny.tiny_training(["frame"])
    for word in words:
        with pytest.raises(ValueError, match=word):
            MgfCriterion(MgfCriterionConfig(sample_rate=16000, **settings), task)


def test_means_are_over_earlier_updates_and_forget_two_percent_with_each():
    model, criterion = training()
    norms = []
    for number in range(3):
        update(model, criterion, tiny.tiny_sample(range(number, number + 6)), number)
        criterion.finish_update()
        norms.append(criterion.balance.numbers()["norm_phoneme"])
    total, weight = criterion.balance.state_dict()["phoneme"]
    assert weight == pytest.approx(0.98**2 + 0.98 + 1)
    assert total == pytest.approx(0.98**2 * norms[0] + 0.98 * norms[1] + norms[2])


def test_the_means_survive_a_checkpoint_exactly():
    sample = tiny.tiny_sample(ROWS)
    model, criterion = training()
    for number in range(3):
        update(model, criterion, sample, number)
        criterion.finish_update()
    task, _, _ = tiny.tiny_training()
    task.criterion = tiny.shares_criterion(task)
    task.resume({BALANCE: criterion.balance.state_dict()})
    device = torch.device("cpu")
    resumed = task.criterion.balance
    assert torch.equal(resumed.factors(device), criterion.balance.factors(device))
    assert task.state_dict()[BALANCE] == criterion.balance.state_dict()
    # One of 0.1.0 has no such state, and one with fewer objectives has less of it.
    task.resume({})
    assert torch.equal(resumed.factors(device), criterion.balance.factors(device))
    task.resume({BALANCE: {"frame": [2.0, 1.0]}})
    others = torch.tensor([part != "frame" for part in PARTS])
    assert torch.equal(resumed.factors(device)[others], resumed.shares[others])


def test_micro_batches_and_batches_of_no_weight_leave_the_norms_as_they_are():
    sample = tiny.tiny_sample(ROWS)
    model, criterion = training()
    update(model, criterion, sample)
    criterion.finish_update()
    once = criterion.balance.numbers()
    model, criterion = training()
    update(model, criterion, sample)
    update(model, criterion, without_weight(sample))
    criterion.finish_update()
    # The mean square over the two, of which one is 0: all norms are smaller alike.
    assert {k: v for k, v in criterion.balance.numbers().items() if k.startswith("pull_")} == (
        pytest.approx({k: v for k, v in once.items() if k.startswith("pull_")}, rel=1e-6)
    )


def test_a_skipped_update_changes_no_mean_and_neither_does_an_infinite_norm():
    sample = tiny.tiny_sample(ROWS)
    task, _, _ = tiny.tiny_training()
    model, criterion = training()
    task.criterion = criterion

    class Optimizer:
        def step(self):
            pass

    update(model, criterion, sample)
    task.optimizer_step(Optimizer(), model, 0)
    before = criterion.balance.state_dict()
    update(model, criterion, tiny.tiny_sample(range(6, 12)), 1)
    task.guard._skip_step = True
    task.optimizer_step(Optimizer(), model, 1)
    assert criterion.balance.state_dict() == before
    # Nor is it in the next measurement.
    wanted = oracle_norms(model, sample)
    update(model, criterion, sample, 1)
    task.optimizer_step(Optimizer(), model, 1)
    assert criterion.balance.numbers()["norm_frame"] == pytest.approx(wanted["frame"], rel=1e-4)
    before = criterion.balance.state_dict()
    # As where fp16 overflows: the loss is finite, the gradient is not.
    update(model, criterion, sample, 2, loss_scale=math.inf)
    task.optimizer_step(Optimizer(), model, 2)
    assert criterion.balance.state_dict() == before
    update(model, criterion, sample, 3)
    task.optimizer_step(Optimizer(), model, 3)
    assert criterion.balance.state_dict() != before


def test_a_part_with_nothing_to_count_keeps_its_mean():
    model, criterion = training()
    update(model, criterion, tiny.tiny_sample(ROWS))
    criterion.finish_update()
    before = criterion.balance.state_dict()
    update(model, criterion, tiny.tiny_sample([0]), 1)  # one row: no other utterance
    criterion.finish_update()
    after = criterion.balance.state_dict()
    assert after["utterance"] == before["utterance"] and after["frame"] != before["frame"]
    assert "norm_utterance" not in criterion.balance.numbers()


@pytest.mark.parametrize("precision", ["bf16 autocast", "fp16 autocast", "bf16", "fp16"])
def test_norms_are_nearly_those_of_fp32_in_every_precision(precision):
    sample = tiny.tiny_sample(ROWS)
    model, criterion = training()
    wanted = oracle_norms(model, sample)
    dtype = {"fp": torch.float16, "bf": torch.bfloat16}[precision[:2]]
    if "autocast" not in precision:
        model = model.to(dtype)
    for number in range(2):
        with torch.autocast("cpu", dtype=dtype, enabled="autocast" in precision):
            model.set_num_updates(0)
            model.zero_grad()
            loss, _, _ = criterion(model, sample)
        (loss * (128.0 if "fp16" in precision else 1.0)).backward()
        criterion.finish_update()
        numbers = criterion.balance.numbers()
        for part, norm in wanted.items():
            # 8 bits of mantissa, through a model of nine layers.
            assert numbers[f"norm_{part}"] == pytest.approx(norm, rel=0.15), (part, number)
