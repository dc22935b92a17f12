"""The criterion: its sum, its gradients, its log, and what it refuses."""

import dataclasses

import pytest
import tiny
import torch
from fairseq.data.iterators import EpochBatchIterator
from fairseq.logging import metrics
from omegaconf import OmegaConf

from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
from mgf_fairseq.data.entries import ManifestError
from mgf_fairseq.host.iterators import MgfBatchIterator, without_weight
from mgf_fairseq.monitoring.feature_deviation import feature_deviation

ROWS = range(6)
NAMES = tuple(tiny.OBJECTIVES)


def gradients(model):
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def step(model, criterion, sample):
    model.zero_grad()
    loss, sample_size, log = criterion(model, sample)
    loss.backward()
    return loss.detach(), sample_size, log


def single_gradients(name, sample):
    """Gradients of the mean loss of one objective, in the model that holds all four."""
    _, model, _ = tiny.tiny_training()
    part = model(**sample["net_input"]).objectives[name]
    (part.loss_sum / part.count).backward()
    return gradients(model)


def reduced(logs):
    with metrics.aggregate(new_root=True) as aggregator:
        MgfCriterion.reduce_metrics(logs)
    values = aggregator.get_smoothed_values()
    # Speed depends on the clock.
    return {key: value for key, value in values.items() if key != "audio_s_per_s"}


def test_the_loss_is_the_weighted_sum_of_the_objectives_means():
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    loss, sample_size, log = criterion(model, sample)
    outputs = model(**sample["net_input"]).objectives
    assert all(part.count > 0 for part in outputs.values())
    expected = sum(
        tiny.WEIGHTS[name] * part.loss_sum / part.count for name, part in outputs.items()
    )
    # The same fp32 numbers, added in another order.
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    assert sample_size == 1
    assert log["loss"] == pytest.approx(float(loss), rel=1e-6)  # fp32, and summed in fp64


def test_weights_and_shares_go_by_name_in_whatever_order_they_are_given():
    task, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    backwards = dict(reversed(tiny.WEIGHTS.items()))
    other = MgfCriterion(MgfCriterionConfig(loss_weights=backwards, sample_rate=16000), task)
    assert criterion(model, sample)[0] == other(model, sample)[0]
    shares = dict(reversed(tiny.SHARES.items()))
    other = MgfCriterion(MgfCriterionConfig(gradient_shares=shares, sample_rate=16000), task)
    assert tiny.shares_criterion(task)(model, sample)[0] == other(model, sample)[0]


def test_the_total_gradient_is_the_weighted_sum_of_the_single_gradients():
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    step(model, criterion, sample)
    total = gradients(model)
    single = {name: single_gradients(name, sample) for name in NAMES}
    for parameter, gradient in total.items():
        expected = sum(tiny.WEIGHTS[name] * single[name][parameter] for name in NAMES)
        # fp32: one backward pass adds up where four passes were added afterwards, and a tap of the
        # first convolution sums over 6 x 3000 positions that nearly cancel.
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(gradient / scale, expected / scale, rtol=0, atol=2e-5)


def test_an_objective_alone_has_the_loss_it_has_among_others():
    sample = tiny.tiny_sample(ROWS)
    _, together, criterion = tiny.tiny_training()
    alone = {}
    for name in NAMES:
        _, model, single = tiny.tiny_training([name])
        model.load_state_dict(
            {k: v for k, v in together.state_dict().items() if k in model.state_dict()}
        )
        alone[name] = single(model, sample)[0]
    # The same fp32 numbers, added in another order.
    torch.testing.assert_close(
        criterion(together, sample)[0], sum(alone.values()), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_a_gradient_whatever_level_an_objective_reads(name):
    # DDP without find_unused_parameters waits for each of them.
    _, model, criterion = tiny.tiny_training([name])
    step(model, criterion, tiny.tiny_sample(ROWS))
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"frame": 1.0}, ["frame", "sample"]),
        ({"frame": 1.0, "sample": 1.0, "phonem": 1.0}, ["phonem", "sample"]),
        ({}, ["frame", "sample"]),
    ],
)
def test_weights_that_do_not_match_the_built_objectives_are_refused(weights, named):
    task, _, _ = tiny.tiny_training(["sample", "frame"])
    with pytest.raises(ValueError, match=r"loss_weights.*model\.objectives") as error:
        MgfCriterion(MgfCriterionConfig(loss_weights=weights, sample_rate=16000), task)
    assert all(f"'{name}'" in str(error.value) for name in named)


def test_nothing_to_train_is_refused():
    task = tiny.tiny_task()
    tiny.build_model(task, tiny.tiny_model_config([]))
    with pytest.raises(ValueError, match="nothing to train"):
        MgfCriterion(MgfCriterionConfig(loss_weights={}, sample_rate=16000), task)


def test_weights_are_read_from_what_hydra_gives():
    task, _, _ = tiny.tiny_training(["sample"])
    given = MgfCriterionConfig(loss_weights={"sample": 2}, sample_rate=16000, nonfinite_budget=0)
    config = OmegaConf.create(dataclasses.asdict(given))
    assert MgfCriterion(config, task).loss_weights == {"sample": 2.0}


def test_the_log_has_the_same_keys_on_every_step():
    task, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    keys = set(step(model, criterion, sample)[2])
    # No frame is masked.
    _, unmasked, _ = tiny.tiny_training(mask_prob=0.0)
    log = step(unmasked, criterion, sample)[2]
    assert log["count:loss_phoneme"] == 0
    assert set(log) == keys
    # One row: no other utterance.
    log = step(model, criterion, tiny.tiny_sample([0]))[2]
    assert log["count:loss_utterance"] == 0
    assert set(log) == keys
    # A batch that only keeps step, and validation.
    assert set(step(model, criterion, without_weight(sample))[2]) == keys
    assert set(task.valid_step(sample, model, criterion)[2]) == keys


def test_a_count_of_zero_gives_a_zero_that_is_connected_to_every_parameter():
    _, model, criterion = tiny.tiny_training(["phoneme"], mask_prob=0.0)
    loss, _, log = step(model, criterion, tiny.tiny_sample(ROWS))
    assert log["count:loss_phoneme"] == 0 and loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_batch_that_only_keeps_step_counts_for_nothing():
    _, model, criterion = tiny.tiny_training()
    loss, sample_size, log = step(model, criterion, without_weight(tiny.tiny_sample(ROWS)))
    assert loss == 0 and sample_size == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
    assert {key: float(value) for key, value in log.items()} == dict.fromkeys(log, 0.0)


def test_marking_a_batch_leaves_the_batch_itself_as_it_was():
    sample = tiny.tiny_sample(ROWS)
    utterance = sample["net_input"]["utterance"].clone()
    marked = without_weight(sample)
    assert marked["ignore"] and (marked["net_input"]["utterance"] == -1).all()
    assert "ignore" not in sample and torch.equal(sample["net_input"]["utterance"], utterance)


def test_the_dummy_batch_is_the_first_that_can_be_read_and_is_marked():
    """fairseq keeps the iterator's first batch as the one to run where a rank has none."""

    class Dataset(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return index

        def __len__(self):
            return 4

        def collate(self, indices):
            return {} if 0 in indices else tiny.tiny_sample(ROWS)

    def iterator(batches):
        made = EpochBatchIterator(Dataset(), Dataset().collate, batches)
        made.__class__ = MgfBatchIterator
        return made

    assert iterator([[0, 1], [2, 3]]).first_batch["ignore"]
    with pytest.raises(ManifestError, match="mgf check"):
        _ = iterator([[0, 1]]).first_batch


def test_bf16_autocast_covers_the_forward_pass_alone_even_inside_fairseqs_own():
    """fairseq's train_step enters a disabled CUDA autocast; an outer one would be switched off."""
    task, model, _ = tiny.tiny_training()
    task.cfg.autocast = "bf16"
    seen = []

    class Optimizer:
        def backward(self, loss):
            seen.append(torch.is_autocast_enabled("cpu"))

        def clip_grad_norm(self, max_norm):
            raise NotImplementedError

    def criterion(model, sample):
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.zeros((), requires_grad=True), 1, {}

    criterion.begin_update, criterion.balance = lambda update: None, None
    task.train_step(tiny.tiny_sample(ROWS), model, criterion, Optimizer(), 0)
    assert seen == [True, False]


def test_summed_logs_reduce_as_a_list_of_logs_does():
    _, model, criterion = tiny.tiny_training()
    logs = [step(model, criterion, tiny.tiny_sample(rows))[2] for rows in (ROWS, range(6, 10))]
    summed = {key: logs[0][key] + logs[1][key] for key in logs[0]}
    assert MgfCriterion.logging_outputs_can_be_summed()
    listed = reduced(logs)
    assert reduced([summed]) == pytest.approx(listed, rel=1e-6)  # fp32 sums in another order
    assert {"loss", "padding", "skipped", "utterance_accuracy", "std_latents"} <= set(listed)
    assert {f"loss_{name}" for name in NAMES} <= set(listed)


def test_the_logged_loss_of_an_objective_is_its_mean_over_all_that_counted():
    _, model, criterion = tiny.tiny_training()
    logs = [step(model, criterion, tiny.tiny_sample(rows))[2] for rows in (ROWS, range(6, 8))]
    expected = sum(log["sum:loss_frame"] for log in logs) / sum(
        log["count:loss_frame"] for log in logs
    )
    with metrics.aggregate(new_root=True) as aggregator:  # updates between two lines of the log
        for log in logs:
            MgfCriterion.reduce_metrics([log])
    # Logged values are rounded to 4 places.
    for values in (reduced(logs), aggregator.get_smoothed_values()):
        assert values["loss_frame"] == pytest.approx(float(expected), abs=1e-4)


def test_padding_is_logged_as_its_share_and_has_no_part_in_the_logged_deviation():
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    inputs = sample["net_input"]
    share = float(inputs["padding_mask"].double().mean())
    assert reduced([step(model, criterion, sample)[2]])["padding"] == pytest.approx(share, abs=1e-4)
    encoded = model(**inputs).encoded
    padding = encoded.padding_mask
    assert padding.any()
    noisy = torch.where(padding[..., None], 100.0, encoded.context)
    found = feature_deviation(dataclasses.replace(encoded, context=noisy))["context"]
    expected = encoded.context[~padding].std(dim=0, correction=0).mean()
    torch.testing.assert_close(found, expected.detach())


def test_a_step_without_any_sample_leaves_the_means_alone():
    _, model, criterion = tiny.tiny_training()
    real = step(model, criterion, tiny.tiny_sample(ROWS))[2]
    empty = step(model, criterion, without_weight(tiny.tiny_sample(ROWS)))[2]
    with metrics.aggregate(new_root=True) as aggregator:
        MgfCriterion.reduce_metrics([real])
        MgfCriterion.reduce_metrics([empty])
    values, alone = aggregator.get_smoothed_values(), reduced([real])
    for key in ("loss", "padding", *(f"loss_{name}" for name in NAMES)):
        assert values[key] == alone[key]


def test_a_constant_encoder_shows_in_the_logged_deviation():
    _, model, criterion = tiny.tiny_training()
    sample = tiny.tiny_sample(ROWS)
    healthy = step(model, criterion, sample)[2]["sum:std_context"]
    with torch.no_grad():
        model.encoder.layers[-1].final_layer_norm.weight.zero_()
    loss, _, log = step(model, criterion, sample)
    assert log["count:std_context"] == 1
    assert log["sum:std_context"] < 1e-6 < 0.1 < healthy  # fp32 rounding of a constant
    assert reduced([log])["std_context"] == 0  # 4 digits
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_folder_that_is_not_there_is_named_before_training_starts():
    task = tiny.tiny_task("nowhere")
    with pytest.raises(ManifestError, match=r"task\.data=nowhere is no folder.*mgf prepare"):
        task.build_criterion(None)
