"""NaN and infinity: named, skipped on all ranks alike, counted, and a budget that ends it."""

import math

import pytest
import tiny
import torch
from fairseq.logging import metrics
from poisoned import ROWS

from mgf_fairseq.criterion import MgfCriterion
from mgf_fairseq.monitoring.nonfinite import Budget, NonFiniteError
from mgf_fairseq.types import ObjectiveOutput

NAMES = tuple(tiny.OBJECTIVES)


def poison(model, name, value=math.nan):
    """Multiply the loss of an objective by a value."""
    objective = model.objectives[name]
    forward = objective.forward

    def poisoned(encoded, batch):
        part = forward(encoded, batch)
        return ObjectiveOutput(part.loss_sum * value, part.count, part.metrics)

    objective.forward = poisoned


def step(model, criterion, sample):
    model.zero_grad()
    loss, _, log = criterion(model, sample)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}, log


def reduced(log):
    with metrics.aggregate(new_root=True) as aggregator:
        MgfCriterion.reduce_metrics([log])
    return aggregator.get_smoothed_values()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_an_objective_that_is_not_finite_is_named_and_the_others_train_as_without_it(
    name, value, caplog
):
    sample = tiny.tiny_sample(ROWS)
    _, model, criterion = tiny.tiny_training()
    poison(model, name, value)
    criterion.update = 7
    loss, gradients, log = step(model, criterion, sample)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"update 7: not finite: {name};" in record.getMessage()
    assert "no utterance by itself; the batch is 0.wav, 1.wav, 2.wav" in record.getMessage()

    _, healthy, other = tiny.tiny_training()
    other.loss_weights[name] = 0.0
    expected, rest, _ = step(healthy, other, sample)
    # The same fp32 numbers, added in another order.
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, rest[parameter], rtol=1e-4, atol=1e-5)
    values = reduced(log)
    assert values["nonfinite"] == 1 and f"loss_{name}" not in values
    assert all(math.isfinite(value) for value in values.values())


def test_an_utterance_that_is_not_finite_is_named_and_leaves_the_weights_alone(caplog):
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    sample["net_input"]["source"][3, 500:] = math.nan
    loss, gradients, log = step(model, criterion, sample)
    (record,) = caplog.records
    assert "encoder; utterance 1.wav. Skipped in this update on all ranks" in record.getMessage()
    assert loss == 0 and not any(gradient.any() for gradient in gradients.values())
    values = reduced(log)
    assert values["nonfinite"] == len(NAMES)
    assert all(math.isfinite(value) for value in values.values())


def test_a_healthy_step_counts_nothing_and_has_the_same_log_keys_as_a_sick_one():
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    healthy = step(model, criterion, sample)[2]
    poison(model, "frame")
    sick = step(model, criterion, sample)[2]
    assert set(healthy) == set(sick)
    assert reduced(healthy)["nonfinite"] == 0


def test_the_budget_is_for_the_last_1000_updates_and_an_update_counts_once():
    budget = Budget(2)
    for update in (1, 1, 500, 1001):
        budget.spend(update)
    with pytest.raises(NonFiniteError, match=r"3 of the last 1000.*nonfinite_budget=2"):
        budget.spend(1400)
    with pytest.raises(NonFiniteError):
        Budget(0).spend(5)
    with pytest.raises(ValueError, match="nonfinite_budget=-1"):
        Budget(-1)


def test_training_stops_when_the_budget_is_spent_and_validation_spends_none():
    _, model, criterion = tiny.tiny_training()
    criterion.budget = Budget(1)
    poison(model, "sample")
    criterion.eval()
    for criterion.update in (1, 2, 3):
        step(model, criterion, tiny.tiny_sample(ROWS))
    criterion.train()
    criterion.update = 4
    step(model, criterion, tiny.tiny_sample(ROWS))
    criterion.update = 5
    with pytest.raises(NonFiniteError):
        step(model, criterion, tiny.tiny_sample(ROWS))


def sounds() -> torch.Tensor:
    """Silence, clipping, constants, one sample, and noise: (8, S), each utterance twice."""
    length = 12_000
    noise = torch.randn(length, dtype=torch.float64)
    click = torch.zeros(length, dtype=torch.float64)
    click[5000] = 1.0
    rows = [torch.zeros(length), (noise * 100).clamp(-1, 1), torch.full((length,), 0.7), click]
    return torch.stack([row.double() for row in rows for _ in range(2)])


@pytest.mark.parametrize("precision", ["fp32", "bf16 autocast", "fp16 autocast", "bf16", "fp16"])
@pytest.mark.parametrize("num_samples", [1600, 12_000])
@pytest.mark.parametrize("normalize", [True, False])
def test_silence_clipping_constants_and_short_clips_train_without_nan(
    precision, num_samples, normalize
):
    _, model, criterion = tiny.tiny_training(mask_length=2)
    source = sounds()[:, :num_samples]
    if normalize:
        source = torch.nn.functional.layer_norm(source, source.shape[1:])
    sample = tiny.tiny_sample(range(8))
    sample["net_input"]["source"] = source
    sample["net_input"]["padding_mask"] = torch.zeros_like(source, dtype=torch.bool)
    dtype = {"fp": torch.float16, "bf": torch.bfloat16}[precision[:2]]
    if precision in ("bf16", "fp16"):  # as common.bf16 and common.fp16 do: the weights themselves
        model = model.to(dtype)
    scale = 128.0 if "fp16" in precision else 1.0  # what fairseq begins with
    # fairseq keeps weights in fp32 to update, whatever the model computes in.
    masters = [torch.nn.Parameter(p.detach().float()) for p in model.parameters()]
    optimizer = torch.optim.Adam(masters, lr=1e-3)
    for update in range(4):
        model.set_num_updates(update)
        model.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled="autocast" in precision):
            loss, _, log = criterion(model, sample)
        (loss * scale).backward()
        assert math.isfinite(loss.detach()) and log["num_nonfinite"] == 0
        # At the first update already: no scaler has to find its way past silence.
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        for master, p in zip(masters, model.parameters(), strict=True):
            master.grad = p.grad.float() / scale
        optimizer.step()
        with torch.no_grad():
            for master, p in zip(masters, model.parameters(), strict=True):
                p.copy_(master)
    assert all(torch.isfinite(p).all() for p in masters)
