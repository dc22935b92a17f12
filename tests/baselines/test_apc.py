"""APC: it sees no future, padding changes nothing, the loss is that of the frame ahead."""

import pytest
import tiny
import torch
from fairseq.criterions.model_criterion import ModelCriterion
from fairseq.optim import FairseqOptimizer
from omegaconf import OmegaConf
from tiny_checkpoints import save, waveforms

from mgf_fairseq.baselines.apc import ApcTask
from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.extract.upstream import load_upstream
from mgf_fairseq.utils.package import config_dir

WINDOW, HOP = 400, 320


def composed(*overrides):
    words = ["task.data=none", "common.user_dir=none", "objectives=apc", *overrides]
    return tiny.compose_recipe(
        config_dir("pretrain"), "mgf_debug", [*words, "model.encoder_embed_dim=24"]
    )


@pytest.fixture
def config():
    return composed()


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return ApcTask.setup_task(config.task).build_model(config.model).eval()


def encoded(model, *rows):
    source = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(source.shape[1])[None] >= lengths[:, None]
    return source, mask, model.encode(source, mask)


@torch.no_grad()
def test_no_layer_sees_a_sample_after_the_window_of_its_frame(model):
    row = torch.randn(8000)
    changed = row.clone()
    cut = 10 * HOP + WINDOW  # the end of frame 10
    changed[cut:] += torch.randn(8000 - cut)
    before, after = (encoded(model, each)[2][1] for each in (row, changed))
    assert len(before) == 3
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, :11], other[:, :11])
        assert not torch.allclose(one[:, 11:], other[:, 11:], atol=1e-3)


@torch.no_grad()
def test_a_padded_batch_is_its_rows_and_the_loss_that_of_the_frames_three_ahead(model):
    rows = [torch.randn(8000), torch.randn(5000), torch.randn(1500)]  # 24, 15 and 4 frames
    source, mask, (_, states, valid) = encoded(model, *rows)
    assert valid.sum(dim=1).tolist() == [24, 15, 4]
    total = 0.0
    for number, row in enumerate(rows):
        _, _, (mel, alone, _) = encoded(model, row)
        count = mel.shape[1]
        for together, single in zip(states, alone, strict=True):
            torch.testing.assert_close(together[number, :count], single[0], atol=1e-5, rtol=0)
        predicted = model.head(alone[-1][0])
        for frame in range(count - 3):
            total += float((predicted[frame] - mel[0, frame + 3]).abs().mean())
    output = model(source, mask)
    assert output["sample_size"] == 24 + 15 + 4 - 3 * 3
    assert float(output["losses"]["ahead"]) == pytest.approx(total, rel=1e-4)


def test_a_step_trains_every_weight_and_counts_the_audio(config):
    task = ApcTask.setup_task(config.task)
    model = task.build_model(config.model)
    optimizer = FairseqOptimizer(OmegaConf.create({}))
    optimizer._optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sample = tiny.tiny_sample(range(4))
    criterion = ModelCriterion(task, {}, [])
    _, size, log = task.train_step(sample, model, criterion, optimizer, 0)
    heard = (~sample["net_input"]["padding_mask"]).sum() / tiny.SAMPLE_RATE
    assert size > 0 and float(log["audio_s"]) == pytest.approx(float(heard))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_width_240_has_the_parameters_of_mini():
    def count(*words):
        paths = ["task.data=none", "common.user_dir=none", *words]
        recipe = tiny.compose_recipe(config_dir("pretrain"), "mgf_mini", paths)
        task = tiny.tiny_task() if "objectives=only_frame" in words else ApcTask(recipe.task)
        found = task.build_model(recipe.model).named_parameters()
        return sum(p.numel() for name, p in found if not name.startswith(("objectives", "head")))

    ours = count("objectives=only_frame")
    theirs = count("objectives=apc", "model.encoder_embed_dim=240")
    assert abs(theirs / ours - 1) < 0.05


def saved(path, config, model):
    held = {
        group: OmegaConf.to_container(config[group], resolve=True) for group in ("model", "task")
    }
    return save(path, model, held, optimizer_history=[{"num_updates": 7}])


def test_its_checkpoint_is_an_upstream_with_a_layer_per_gru(config, model, tmp_path):
    upstream = load_upstream(saved(tmp_path / "ck.pt", config, model))
    assert (upstream.kind, upstream.info["num_updates"]) == ("apc", 7)
    assert upstream.layer_names == ["layer 1", "layer 2", "layer 3"]
    batch = upstream(waveforms())
    assert batch.lengths.tolist() == [24, 15, 1]
    for number, waveform in enumerate(waveforms()):
        for layer, state in enumerate(upstream([waveform]).hidden_states):
            row = batch.hidden_states[layer][number, : state.shape[1]]
            torch.testing.assert_close(row, state[0], atol=1e-5, rtol=0)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    other = load_upstream(saved(tmp_path / "other.pt", config, model))
    assert other.fingerprint != upstream.fingerprint


def test_another_number_of_grus_and_bad_settings_are_refused_in_one_line(config, model, tmp_path):
    config.model.encoder_layers = 2
    path = saved(tmp_path / "ck.pt", config, model)
    with pytest.raises(CheckpointError, match=r"ck.pt: not of this form: 2 GRUs of 24"):
        load_upstream(path)
    bad = composed("model.ahead=0")
    with pytest.raises(ValueError, match=r"ahead=0 must be 1 or more"):
        ApcTask.setup_task(bad.task).build_model(bad.model)
    with pytest.raises(ValueError, match=r"apc cannot run under autocast; set task.autocast=none"):
        ApcTask.setup_task(composed("task.autocast=bf16").task)
