"""Unmodified fine-tuning models of fairseq build from our checkpoint, train, and are obeyed."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from fairseq import tasks
from fairseq.dataclass.initialize import add_defaults
from fairseq.models import build_model
from omegaconf import DictConfig, OmegaConf

from mgf_fairseq.checkpoints.average import average
from mgf_fairseq.model import MgfModel

LETTERS = "ABCDEF"
MODELS = ("wav2vec_ctc", "wav2vec_seq2seq", "wav2vec_classification")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as fairseq's trainer writes it, of a tiny model with all objectives."""
    config = OmegaConf.create(
        {
            "task": {"_name": "mgf_pretraining", "data": "somewhere"},
            "model": {
                **{
                    key: value
                    for key, value in vars(tiny.tiny_model_config()).items()
                    if key not in ("sample_rate", "seed", "_name")
                },
                "_name": "mgf",
            },
            "criterion": {"_name": "mgf", "loss_weights": tiny.WEIGHTS},
            "common": {"seed": 1},
        }
    )
    add_defaults(config)
    task = tasks.setup_task(config.task)
    model = task.build_model(config.model)
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint_last.pt"
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(config, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": [
            {"num_updates": 1, "optimizer_name": "Adam", "lr_scheduler_state": {}}
        ],
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}, "val_loss": 1.0},
        "task_state": {},
    }
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with letters and a speaker per utterance."""
    folder = tmp_path_factory.mktemp("labels")
    shutil.copy(corpus / "train.tsv", folder)
    (folder / "train.ltr").write_text("A B | C D |\nE F A |\n" * 6)
    (folder / "dict.ltr.txt").write_text("".join(f"{x} 10\n" for x in [*LETTERS, "|"]))
    (folder / "train.speaker").write_text("ann\nbob\n" * 6)
    (folder / "dict.speaker.txt").write_text("ann 6\nbob 6\n")
    return folder


def config_of(model: str, checkpoint: Path, data: Path, **overrides: Any) -> DictConfig:
    """What a fine-tuning YAML says, with fairseq's defaults for the rest."""
    task: dict[str, Any] = {
        "_name": "audio_finetuning",
        "data": str(data),
        "labels": "ltr",
        "normalize": True,
        "min_sample_size": 400,
    }
    criterion: dict[str, Any] = {"_name": "ctc", "zero_infinity": True}
    sizes: dict[str, Any] = {}
    if model == "wav2vec_seq2seq":
        task["autoregressive"] = True
        criterion = {"_name": "label_smoothed_cross_entropy", "label_smoothing": 0.1}
        # 512 is the only width whose cross-attention fairseq builds.
        sizes = {"decoder_layers": 1, "decoder_ffn_embed_dim": 32, "decoder_embed_dim": 512}
    elif model == "wav2vec_classification":
        task |= {"_name": "audio_classification", "labels": "speaker"}
        criterion = {"_name": "cross_entropy"}
        sizes = {"pooling": "mean"}
    config = OmegaConf.create(
        {
            "common": {"seed": 1, "tpu": False},
            "optimization": {"sentence_avg": True},
            "distributed_training": {"ddp_backend": "legacy_ddp"},
            "task": task,
            "criterion": criterion,
            "model": {"_name": model, "w2v_path": str(checkpoint), **sizes, **overrides},
        }
    )
    if "normalize" in overrides:
        del config.model["normalize"]
        config.task.normalize = overrides["normalize"]
    add_defaults(config)
    return config


def built(model: str, checkpoint: Path, data: Path, **overrides: Any) -> tuple[Any, Any, Any]:
    config = config_of(model, checkpoint, data, **overrides)
    task = tasks.setup_task(config.task)
    return task, task.build_model(config.model), config


def encoder_of(model: Any) -> MgfModel:
    encoder = model.encoder if hasattr(model, "encoder") else model.w2v_encoder
    assert isinstance(encoder.w2v_model, MgfModel)
    return encoder.w2v_model


class Backward:
    """As much of an optimizer as a task's train_step asks for."""

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


def one_step(task: Any, model: Any, config: DictConfig, update: int = 0) -> torch.Tensor:
    task.load_dataset("train", task_cfg=config.task)
    items = task.dataset("train")
    sample = items.collater([items[index] for index in range(4)])
    criterion = task.build_criterion(config.criterion)
    model.set_num_updates(update)
    loss, _, _ = task.train_step(sample, model, criterion, Backward(), update)
    return loss.detach()


@pytest.mark.parametrize("name", MODELS)
def test_stock_fairseq_builds_from_our_checkpoint_and_takes_a_training_step(name, checkpoint, data):
    # wav2vec2_asr loads with strict=True.
    task, model, config = built(name, checkpoint, data, feature_grad_mult=1.0)
    saved = torch.load(checkpoint, weights_only=True)["model"]
    encoder = encoder_of(model)
    assert not any("objectives" in key for key in model.state_dict())
    assert encoder.objectives is None and "mask_emb" in encoder.state_dict()
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, saved[key])
    loss = one_step(task, model, config)
    assert torch.isfinite(loss) and loss > 0
    for key, parameter in encoder.named_parameters():
        if key != "mask_emb":
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
            assert parameter.grad.any() or key.endswith("k_proj.bias"), key  # softmax ignores it


def test_overrides_of_the_fine_tuning_recipe_arrive(checkpoint, data):
    overrides = {
        "dropout": 0.11,
        "attention_dropout": 0.12,
        "activation_dropout": 0.13,
        "dropout_input": 0.14,
        "layerdrop": 0.15,
        "mask_prob": 0.31,
        "mask_length": 7,
        "mask_selection": "poisson",
        "mask_other": 2.0,
        "no_mask_overlap": True,
        "mask_channel_prob": 0.25,
        "mask_channel_length": 3,
        "mask_channel_before": True,
        "feature_grad_mult": 0.5,
    }
    _, model, _ = built("wav2vec_ctc", checkpoint, data, **overrides)
    encoder = encoder_of(model)
    layer = encoder.encoder.layers[0]
    assert encoder.encoder.dropout.p == layer.dropout.p == 0.11
    assert layer.self_attn.dropout == 0.12 and layer.activation_dropout.p == 0.13
    assert encoder.dropout_input.p == 0.14 and encoder.encoder.layerdrop == 0.15
    frame, channel = encoder.frame_spans, encoder.channel_spans
    assert (frame.prob, frame.length, frame.selection, frame.other) == (0.31, 7, "poisson", 2.0)
    assert frame.no_overlap and (channel.prob, channel.length) == (0.25, 3)
    assert encoder.mask_channel_before and encoder.feature_grad_mult == 0.5


def features(model: Any, train: bool) -> torch.Tensor:
    """What the fine-tuning model sees of two rows, from the same random state."""
    torch.manual_seed(5)
    source = tiny.tiny_sample([0, 5])["net_input"]["source"].float()
    padding = torch.zeros_like(source, dtype=torch.bool)
    model.train(train)
    with torch.no_grad():
        return model.w2v_encoder(source=source, padding_mask=padding)["encoder_out"]


QUIET = {"mask_prob": 0.0, "apply_mask": True}


@pytest.mark.parametrize(
    "overrides",
    [
        {"dropout": 0.5},
        {"attention_dropout": 0.5},
        {"activation_dropout": 0.5},
        {"dropout_input": 0.5},
        {"layerdrop": 1.0},
        {"mask_prob": 0.5, "mask_length": 4},
        {"mask_channel_prob": 0.5, "mask_channel_length": 2},
    ],
    ids=lambda overrides: next(iter(overrides)),
)
def test_an_override_acts_in_training_and_only_there(checkpoint, data, overrides):
    plain = built("wav2vec_ctc", checkpoint, data, **QUIET)[1]
    changed = built("wav2vec_ctc", checkpoint, data, **{**QUIET, **overrides})[1]
    changed.load_state_dict(plain.state_dict())
    assert torch.equal(features(plain, True), features(plain, False))
    assert torch.equal(features(changed, False), features(plain, False))
    assert not torch.allclose(features(changed, True), features(plain, True), atol=1e-3)


def test_masks_differ_from_update_to_update_in_fine_tuning(checkpoint, data):
    model = built("wav2vec_ctc", checkpoint, data, apply_mask=True, mask_length=4)[1].train()
    source = tiny.tiny_sample([0])["net_input"]["source"].float()
    encoder = encoder_of(model)
    masks = [encoder.encode(source, mask=True)[0].mask_indices for _ in range(4)]
    assert any(not torch.equal(masks[0], mask) for mask in masks[1:])


@pytest.mark.parametrize(("scale", "reached"), [(0.0, False), (1.0, True)])
def test_feature_grad_mult_decides_whether_the_conv_stack_learns(checkpoint, data, scale, reached):
    task, model, config = built("wav2vec_ctc", checkpoint, data, feature_grad_mult=scale)
    one_step(task, model, config)
    stack = encoder_of(model).feature_extractor
    assert all((p.grad is not None) == reached for p in stack.parameters())


@pytest.mark.parametrize(("update", "reached"), [(0, False), (4, False), (5, True)])
def test_freeze_finetune_updates_keeps_the_encoder_still(checkpoint, data, update, reached):
    task, model, config = built("wav2vec_ctc", checkpoint, data, freeze_finetune_updates=5)
    one_step(task, model, config, update)
    encoder = encoder_of(model).encoder
    assert all((p.grad is not None) == reached for p in encoder.parameters())
    assert model.w2v_encoder.proj.weight.grad is not None


def test_another_normalization_than_in_pre_training_is_refused(checkpoint, data):
    with pytest.raises(AssertionError, match="normalization is the same"):
        built("wav2vec_ctc", checkpoint, data, normalize=False)


def test_an_average_is_fine_tuned_as_its_checkpoints_are(checkpoint, data, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    for name, tensor in state["model"].items():
        if tensor.is_floating_point():
            state["model"][name] = tensor + 0.01
    state["optimizer_history"][0]["num_updates"] = 2
    torch.save(state, tmp_path / "later.pt")
    average([checkpoint, tmp_path / "later.pt"], tmp_path / "average.pt")
    task, model, config = built("wav2vec_ctc", tmp_path / "average.pt", data)
    expected = state["model"]["layer_norm.weight"] - 0.005
    assert torch.allclose(encoder_of(model).layer_norm.weight, expected, rtol=0, atol=1e-6)
    assert torch.isfinite(one_step(task, model, config))


@pytest.mark.parametrize("spoil", ["missing", "stray"])
def test_weights_of_another_kind_are_refused(checkpoint, data, tmp_path, spoil):
    state = copy.deepcopy(torch.load(checkpoint, weights_only=True))
    if spoil == "missing":
        del state["model"]["encoder.layers.1.fc1.weight"]
    else:
        state["model"]["quantizer.vars"] = torch.zeros(3)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(RuntimeError, match=r"encoder\.layers\.1\.fc1\.weight|quantizer\.vars"):
        built("wav2vec_ctc", tmp_path / "other.pt", data)


def test_the_checkpoint_builds_with_its_objectives_when_fairseq_loads_it_by_itself(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    config = OmegaConf.create(state["cfg"])
    task = tasks.setup_task(config.task)
    # As checkpoint_utils.load_model_ensemble_and_task does.
    model = build_model(config.model, task, from_checkpoint=True)
    model.load_state_dict(state["model"], strict=True)
    assert set(model.objectives) == set(tiny.OBJECTIVES)
