"""The model as the task builds it: what targets are made from, and what validation repeats."""

from typing import Any

import pytest
import tiny
import torch
import torch.nn.functional as F

from mgf_fairseq.acoustics.features import LOG_FLOOR
from mgf_fairseq.types import Batch

ROWS = range(4)


def quiet_rows(normalize: bool) -> dict[str, Any]:
    """The inputs of four padded rows with an rms near 0.02, as the dataset would hand them over."""
    inputs = tiny.tiny_sample(ROWS)["net_input"]
    for row, padding in zip(inputs["source"], inputs["padding_mask"], strict=True):
        quiet = row[~padding] * 0.3
        row[~padding] = F.layer_norm(quiet, quiet.shape) if normalize else quiet
    return inputs


def targets(normalize: bool) -> tuple[dict[str, torch.Tensor], Any]:
    """What the frame and sample objectives aim at under `task.normalize`, and what they see."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = tiny.build_model(tiny.tiny_task(normalize=normalize), tiny.tiny_model_config())
    seen: list[Batch] = []
    model.objectives["frame"].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    encoded = model(**quiet_rows(normalize)).encoded
    frame, sample = model.objectives["frame"], model.objectives["sample"]
    found = frame.target(encoded, seen[0])
    return {**found, "waveform": sample.target(encoded, seen[0])}, (encoded, frame.features)


def test_targets_do_not_depend_on_the_level_at_which_the_encoder_hears_the_rows():
    expected, (loud, _) = targets(True)
    found, (quiet, features) = targets(False)
    for name, target in found.items():
        # fp32 against the dataset's fp64; a voiced frame may lie on the edge of its threshold.
        off = (target - expected[name]).abs() > 1e-2
        assert off.float().mean() < 1e-3, name
    mean, std = features.mel_stats
    floor = (torch.tensor(LOG_FLOOR).log() - mean) / std
    assert (found["mel"][~quiet.padding_mask] < floor + 1e-3).float().mean() < 0.01
    assert not torch.allclose(quiet.latents, loud.latents, atol=0.05)


def random_choices(model: Any, update: int) -> list[torch.Tensor]:
    """The masks and the losses of one batch, which depend on every random choice."""
    model.set_num_updates(update)
    with torch.no_grad():
        output = model(**tiny.tiny_sample(ROWS)["net_input"])
    losses = [part.loss_sum for part in output.objectives.values()]
    return [output.encoded.mask_indices, *losses]


@pytest.mark.parametrize("training", [False, True])
def test_random_choices_move_with_the_update_in_training_and_never_in_validation(training):
    _, model, _ = tiny.tiny_training()
    model.train(training)
    first, later = random_choices(model, 1), random_choices(model, 700)
    assert all(map(torch.equal, first, random_choices(model, 1)))
    assert [torch.equal(a, b) for a, b in zip(first, later, strict=True)] == [not training] * 5
