"""Encoders of every kind to begin with: each weight has its place, or the difference is named."""

from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoints
import torch
from tiny_checkpoints import SHAPE, save

from mgf_fairseq.checkpoints.files import CheckpointError
from mgf_fairseq.checkpoints.initial import read_initial
from mgf_fairseq.export import export
from mgf_fairseq.model import MgfConfig, MgfModel

OBJECTIVES = {"frame": {"hidden_dim": 8}}


def to_train(**overrides: Any) -> MgfModel:
    return MgfModel(
        MgfConfig(**{**SHAPE, **overrides}, objectives=OBJECTIVES, sample_rate=16000, seed=1)
    )


def data2vec(path: Path) -> Path:
    """An encoder under the names of fairseq's examples/data2vec, with its stack of positions."""
    model, config = tiny_checkpoints.mgf()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("encoder.pos_conv")}
    for number in range(5):
        weights[f"encoder.pos_conv.{number}.0.weight"] = torch.randn(16, 4, 3)
    weights["final_proj.weight"] = torch.randn(16, 16)
    config["model"] |= {"_name": "data2vec_audio", "conv_pos": 15, "pos_conv_depth": 5}
    torch.save({"model": weights, "cfg": config}, path)
    return path


def source(kind: str, folder: Path) -> Path:
    path = folder / "ck.pt"
    if kind == "mgf":
        return save(path, *tiny_checkpoints.mgf({"utterance": {"final_dim": 4}}, seed=7))
    if kind == "wav2vec2":
        return save(path, *tiny_checkpoints.wav2vec2())
    if kind == "hubert":
        return save(path, *tiny_checkpoints.hubert(folder))
    if kind == "data2vec":
        return data2vec(path)
    export(tiny_checkpoints.mgf_checkpoint(path, seed=7), "huggingface", folder / "exported")
    return folder / "exported"


@pytest.mark.parametrize("kind", ["mgf", "wav2vec2", "hubert", "data2vec", "transformers"])
def test_each_weight_of_an_encoder_is_given_and_objectives_are_not(
    kind: str, tmp_path: Path
) -> None:
    published = kind in ("wav2vec2", "hubert")  # whose default is a group norm
    model = to_train(**({"extractor_mode": "default", "conv_bias": False} if published else {}))
    path = source(kind, tmp_path)
    initial = read_initial(path, model.cfg, model.state_dict())
    encoder = [name for name in model.state_dict() if not name.startswith("objectives.")]
    lacking = [name for name in encoder if name.startswith("encoder.pos_conv")]
    assert initial.fresh == (lacking if kind == "data2vec" else [])
    assert sorted(initial.weights) == sorted(set(encoder) - set(initial.fresh))
    model.load_state_dict(initial.weights, strict=False)
    if kind != "transformers":
        held = torch.load(path, weights_only=False)["model"]
        assert all(torch.equal(model.state_dict()[name], held[name]) for name in initial.weights)
    if kind == "data2vec":
        assert [name for name in initial.unused if "pos_conv" not in name] == []


def test_of_a_deeper_encoder_the_lower_layers_are_given_and_the_others_named(
    tmp_path: Path,
) -> None:
    path = source("mgf", tmp_path)
    shallow = to_train(encoder_layers=1)
    initial = read_initial(path, shallow.cfg, shallow.state_dict())
    assert not initial.fresh and all(".layers.1." in name for name in initial.unused)
    deep = to_train(encoder_layers=3)
    initial = read_initial(path, deep.cfg, deep.state_dict())
    assert not initial.unused and all(".layers.2." in name for name in initial.fresh)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"encoder_embed_dim": 32},
            r"mask_emb is of shape \(16,\) in it, and \(32,\) in this model; give "
            r"'model.encoder_embed_dim=16'",
        ),
        ({"conv_pos": 4}, r"pos_conv.* in this model; give 'model.conv_pos=8'"),
        ({"encoder_attention_heads": 4}, "heads is 2, this model's 4; give 'model.encoder_att"),
        ({"layer_norm_first": True}, "layer_norm_first is False, this model's True"),
    ],
)
def test_another_shape_is_refused_with_the_settings_that_fit(
    overrides: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = source("mgf", tmp_path)
    model = to_train(**overrides)
    with pytest.raises(CheckpointError, match=message):
        read_initial(path, model.cfg, model.state_dict())


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    model = to_train()
    with pytest.raises(CheckpointError, match=r"none\.pt"):
        read_initial(tmp_path / "none.pt", model.cfg, model.state_dict())
    torch.save({"model": {}, "cfg": {"model": {"_name": "transformer"}}}, tmp_path / "mt.pt")
    with pytest.raises(CheckpointError, match="'transformer'; give one of mgf, wav2vec2, hubert"):
        read_initial(tmp_path / "mt.pt", model.cfg, model.state_dict())
