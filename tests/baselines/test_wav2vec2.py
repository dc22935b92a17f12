"""fairseq's own wav2vec2 on MGF's data: what is equal, what is fairseq's, what the log says."""

import pytest
import tiny
import torch
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from fairseq.optim import FairseqOptimizer
from omegaconf import OmegaConf

from mgf_fairseq.baselines.wav2vec2 import Wav2Vec2BaselineTask
from mgf_fairseq.encoder.config import EncoderConfig
from mgf_fairseq.encoder.feature_extractor import band_pass_filters
from mgf_fairseq.utils.package import config_dir

CONFIGS = config_dir("pretrain")
WIDE = "[(8, 160, 80), (8, 2, 2), (8, 2, 2)]"


def composed(*overrides):
    return tiny.compose_recipe(
        CONFIGS, "mgf_debug", ["task.data=none", "common.user_dir=none", *overrides]
    )


@pytest.fixture
def baseline():
    config = composed("objectives=wav2vec2", f'model.conv_feature_layers="{WIDE}"')
    task = Wav2Vec2BaselineTask.setup_task(config.task)
    options = config.criterion
    criterion = Wav2vecCriterion(task, options.infonce, options.loss_weights, options.log_keys)
    return task, task.build_model(config.model), criterion


def test_the_baseline_shares_encoder_data_and_schedule_with_mgf():
    ours, theirs = composed("objectives=all"), composed("objectives=wav2vec2")
    for group in ("dataset", "optimization", "optimizer", "lr_scheduler"):
        assert ours[group] == theirs[group], group
    names = {"_name"}
    assert {k: v for k, v in ours.task.items() if k not in names} == {
        k: v for k, v in theirs.task.items() if k not in names
    }
    for name in EncoderConfig.__dataclass_fields__:
        assert ours.model[name] == theirs.model[name], name


def test_model_and_criterion_are_fairseqs_and_the_conv_stack_starts_as_ours(baseline):
    _, model, criterion = baseline
    assert type(model) is Wav2Vec2Model and type(criterion) is Wav2vecCriterion
    first = model.feature_extractor.conv_layers[0][0].weight
    assert torch.equal(first[:, 0], band_pass_filters(8, 160))


def test_a_step_moves_the_model_and_counts_the_audio_without_its_padding(baseline):
    task, model, criterion = baseline
    optimizer = FairseqOptimizer(OmegaConf.create({}))
    optimizer._optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sample = tiny.tiny_sample(range(4))
    _, sample_size, log = task.train_step(sample, model, criterion, optimizer, 0)
    heard = (~sample["net_input"]["padding_mask"]).sum() / tiny.SAMPLE_RATE
    assert float(log["audio_s"]) == pytest.approx(float(heard))
    assert sample_size > 0
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for name, p in model.named_parameters()
        if name.startswith(("feature_extractor", "encoder.layers"))
        # The softmax over keys does not feel a shift of all keys.
        and not name.endswith("k_proj.bias")
    )
    _, _, ignored = task.train_step(sample, model, criterion, optimizer, 0, ignore_grad=True)
    assert float(ignored["audio_s"]) == 0


def test_a_batch_without_padding_carries_no_padding_mask(baseline):
    task, model = baseline[0], torch.nn.Linear(1, 1).to(torch.bfloat16)
    padded = task.batch_for(tiny.tiny_sample([0, 1]), model)["net_input"]
    assert set(padded) == {"source", "padding_mask"} and padded["source"].dtype is torch.bfloat16
    assert set(task.batch_for(tiny.tiny_sample([0]), model)["net_input"]) == {"source"}


def test_autocast_and_compilation_are_refused_with_the_fix():
    assert composed("objectives=wav2vec2", "run=gpu_1").task.autocast == "none"
    config = composed("objectives=wav2vec2", "task.autocast=bf16")
    with pytest.raises(ValueError, match=r"task.autocast=none, and common.bf16=true"):
        Wav2Vec2BaselineTask.setup_task(config.task)
    config = composed("objectives=wav2vec2", "task.autocast=none", "+task.compile=encoder")
    with pytest.raises(ValueError, match=r"task.compile=none"):
        Wav2Vec2BaselineTask.setup_task(config.task)
