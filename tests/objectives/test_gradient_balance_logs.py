"""What the balance of the objectives logs: pulls, norms, cosines; and checkpoints without it."""

import dataclasses

import pytest
import tiny
import tiny_checkpoints as checkpoints
import torch
from balanced import PARTS, ROWS, oracle_norms, part_losses, training, update
from fairseq.logging import metrics

from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.model import MgfConfig
from mgf_fairseq.objectives.gradient_balance import GradientBalance


@pytest.mark.parametrize("overrides", [{}, {"checkpoint_activations": True}])
def test_cosines_are_those_of_the_single_gradients_and_leave_the_update_as_it_is(overrides):
    sample = tiny.tiny_sample(ROWS)
    model, criterion = training(cosine_interval=2, **overrides)
    quiet, other = training(**overrides)
    for number in range(2):
        for one, its in ((model, criterion), (quiet, other)):
            update(one, its, sample, number)
            its.finish_update()
    pairs = zip(model.parameters(), quiet.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)
    numbers = criterion.balance.numbers()
    assert not any(name.startswith("cosine_") for name in other.balance.numbers())
    losses, output = part_losses(model, sample)
    gradients = {
        part: torch.autograd.grad(loss, output.encoded.latents, retain_graph=True)[0].flatten()
        for part, loss in losses.items()
    }
    for number, part in enumerate(PARTS):
        for second in PARTS[number + 1 :]:
            expected = torch.cosine_similarity(gradients[part], gradients[second], dim=0)
            found = numbers[f"cosine_{part}-{second}"]
            assert found == pytest.approx(float(expected), abs=1e-4)  # fp32
    # Between two looks the log repeats the last.
    again = criterion.balance.numbers()
    assert again == numbers


def test_an_objective_against_itself_has_cosine_minus_one():
    balance = GradientBalance(["up", "down", "aside"], None)
    shared = torch.zeros(2, requires_grad=True)
    losses = {"up": shared[0] * 3, "down": shared[0] * -2, "aside": shared[1]}
    balance.compare(losses, shared)
    numbers = balance.numbers()
    assert numbers["cosine_up-down"] == pytest.approx(-1.0)
    assert numbers["cosine_up-aside"] == numbers["cosine_down-aside"] == 0.0


def test_under_weights_the_pulls_are_measured_and_nothing_else_changes():
    sample = tiny.tiny_sample(ROWS)
    _, model, criterion = tiny.tiny_training()
    model.train(), criterion.train()
    norms = oracle_norms(model, sample)
    update(model, criterion, sample)
    criterion.finish_update()
    numbers = criterion.balance.numbers()
    ratio = norms["utterance"] * tiny.WEIGHTS["utterance"]
    ratio /= norms["sample"] * tiny.WEIGHTS["sample"]
    assert numbers["pull_utterance"] / numbers["pull_sample"] == pytest.approx(ratio, rel=1e-4)
    assert sum(numbers[f"pull_{part}"] for part in PARTS) == pytest.approx(1.0)


def test_the_task_logs_pulls_and_norms():
    task, _, _ = tiny.tiny_training()
    model, criterion = training()
    task.criterion = criterion
    _, log = update(model, criterion, tiny.tiny_sample(ROWS))
    criterion.finish_update()
    with metrics.aggregate(new_root=True) as aggregator:
        task.reduce_metrics([log], criterion)
    values = aggregator.get_smoothed_values()
    assert {f"{kind}_{part}" for kind in ("pull", "norm") for part in PARTS} <= set(values)


def test_an_objective_whose_output_lacks_a_part_that_it_promised_is_named():
    model, criterion = training(["frame"])
    forward = model.objectives["frame"].forward
    model.objectives["frame"].forward = lambda *args: dataclasses.replace(forward(*args), parts={})
    with pytest.raises(ValueError, match=r"objective frame.*frame_masked.*parts \['frame'\]"):
        criterion(model, tiny.tiny_sample(ROWS))


def test_a_checkpoint_of_version_0_1_loads_and_its_objectives_compute_what_they_did(tmp_path):
    """Its configuration names neither shares nor windows."""
    objectives = {
        "sample": {"level": "latents"},
        "frame": {"level": "50%", "frames": "visible", "masked_level": "context"},
        "phoneme": {"level": "context", "frames": "masked"},
        "utterance": {"level": "context", "frames": "all"},
    }
    model, config = checkpoints.mgf(objectives)
    config["model"]["objectives"] = objectives
    config["criterion"] = {"_name": "mgf", "loss_weights": tiny.WEIGHTS, "nonfinite_budget": 20}
    config["task"] |= {"_name": "mgf_pretraining", "data": "none", "views": 2}
    config["common"] = {"seed": 1}
    names = {name for name in model.state_dict() if name.startswith("objectives.phoneme.")}
    assert names == {
        f"objectives.phoneme.{head}_head.layers.0.{kind}"
        for head in ("query", "target")
        for kind in ("weight", "bias")
    }
    assert model.objectives["phoneme"].target_head.layers[0].weight.shape == (256, 8)
    path = checkpoints.save(tmp_path / "old.pt", model, config, task_state={})
    features = load_encoder(path)([torch.randn(8000).numpy()])
    assert all(torch.isfinite(state).all() for state in features.hidden_states)
    # It resumes under weights, without a balance.
    task = tiny.tiny_task("none")
    settings = {**checkpoints.SHAPE, "objectives": objectives, "sample_rate": 16000, "seed": 1}
    built = tiny.build_model(task, MgfConfig(**settings))
    built.load_state_dict(torch.load(path)["model"], strict=True)
    task.criterion = tiny.tiny_criterion(task)
    task.resume(torch.load(path)["task_state"])
    loss, _, _ = task.criterion.train()(built.train(), tiny.tiny_sample(ROWS))
    loss.backward()
    assert torch.isfinite(loss)
