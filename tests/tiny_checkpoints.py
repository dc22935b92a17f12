"""Tiny checkpoints of every kind that holds a speech encoder, as fairseq's trainer saves them.

A module of its own, so that tests of features, probes and commands can share it.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.models.hubert.hubert_asr import HubertCtc, HubertCtcConfig
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from fairseq.models.wav2vec.wav2vec2_classification import (
    Wav2Vec2ClassificationConfig,
    Wav2VecClassification,
)
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import OmegaConf

from mgf_fairseq.model import MgfConfig, MgfModel

SHAPE: dict[str, Any] = {
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
    "conv_pos": 8,
    "conv_pos_groups": 4,
}
TASK: dict[str, Any] = {"sample_rate": 16000, "normalize": True}


def save(
    path: Path, model: torch.nn.Module, config: dict[str, Any], prefix: str = "", **entries: Any
) -> Path:
    """Save weights, under a prefix, and configuration; return the path."""
    weights = {f"{prefix}{k}": v for k, v in model.state_dict().items()}
    torch.save({"model": weights, "cfg": config, **entries}, path)
    return path


def mgf(objectives: dict[str, Any] | None = None, seed: int = 0) -> tuple[MgfModel, dict[str, Any]]:
    """Build an MGF and its configuration."""
    torch.manual_seed(seed)
    model = MgfModel(MgfConfig(**SHAPE, objectives=objectives, sample_rate=16000, seed=1)).eval()
    return model, {"model": {**SHAPE, "_name": "mgf"}, "task": dict(TASK)}


def mgf_checkpoint(path: Path, seed: int = 0) -> Path:
    """Save an MGF without objectives."""
    return save(path, *mgf(seed=seed))


def wav2vec2(**overrides: Any) -> tuple[Wav2Vec2Model, dict[str, Any]]:
    """Build fairseq's wav2vec 2.0 and its configuration, without normalization."""
    torch.manual_seed(0)
    structured = OmegaConf.structured(Wav2Vec2Config(**{**SHAPE, **overrides}))
    plain = OmegaConf.to_container(structured, enum_to_str=True)
    assert isinstance(plain, dict)
    config = {"model": {**plain, "_name": "wav2vec2"}, "task": {**TASK, "normalize": False}}
    return Wav2Vec2Model(structured).eval(), config


def hubert(folder: Path, **overrides: Any) -> tuple[HubertModel, dict[str, Any]]:
    """Build fairseq's HuBERT with one set of labels and its configuration.

    `folder` gets the dictionary that fairseq looks for when it builds a fine-tuned one.
    """
    torch.manual_seed(0)
    labels = Dictionary()
    for symbol in "abcd":
        labels.add_symbol(symbol)
    labels.save(str(folder / "dict.km.txt"))
    model = OmegaConf.structured(HubertConfig(**{**SHAPE, **overrides}, label_rate=50.0))
    task = OmegaConf.structured(
        HubertPretrainingConfig(data=str(folder), labels=["km"], label_rate=50.0, normalize=True)
    )
    config = {
        "model": {**_plain(model), "_name": "hubert"},
        "task": {**_plain(task), "_name": "hubert_pretraining"},
    }
    return HubertModel(model, task, [labels]).eval(), config


def hubert_ctc(folder: Path, path: Path, **overrides: Any) -> tuple[HubertModel, Path]:
    """Fine-tune (without a step) a HuBERT with fairseq's own hubert_ctc, and save it."""
    _, inner = hubert(folder, **overrides)
    letters = Dictionary()
    ctc = {**_plain(OmegaConf.structured(HubertCtcConfig)), "_name": "hubert_ctc"}
    ctc.update(w2v_path="none", data=str(folder), normalize=True, w2v_args=inner)
    task = SimpleNamespace(target_dictionary=letters, state_dict=dict)
    config = OmegaConf.create({**ctc, "autoregressive": False}, flags={"allow_objects": True})
    model = HubertCtc.build_model(config, task).eval()
    outer = {"model": ctc, "task": {**TASK, "labels": ["ltr"]}}
    save(path, model, outer, task_state={"target_dictionary": letters})
    return model.w2v_encoder.w2v_model, path


def _plain(structured: Any) -> dict[str, Any]:
    container = OmegaConf.to_container(structured, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if value != "???"}


def waveforms(*lengths: int) -> list[np.ndarray]:
    """Noise of these lengths, by default 8000, 5000 and 400 samples."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=n).astype(np.float32) for n in lengths or (8000, 5000, 400)]


def finetuned(path: Path, head: str = "ctc", symbols: str = "|AB", normalize: bool = True) -> Path:
    """Save a random, tiny, stock ``wav2vec_ctc`` or ``wav2vec_classification``."""
    is_ctc = head == "ctc"
    dictionary = Dictionary(add_special_symbols=is_ctc)
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    kind, config = (
        (Wav2VecCtc, Wav2Vec2CtcConfig)
        if is_ctc
        else (Wav2VecClassification, Wav2Vec2ClassificationConfig)
    )
    _, inner = wav2vec2(extractor_mode="layer_norm")
    task = _plain(OmegaConf.structured(AudioPretrainingConfig))
    inner["task"] = {**task, "_name": "audio_pretraining", "data": "/nowhere"}
    inner["task"].update(normalize=normalize, tpu=False, seed=1)
    outer = {**_plain(OmegaConf.structured(config)), "_name": f"wav2vec_{head}"}
    outer = {k: v for k, v in outer.items() if not str(v).startswith("${")}
    outer.update(w2v_path="/nowhere/ck.pt", data="/nowhere", normalize=normalize)
    outer.update(ddp_backend="legacy_ddp", w2v_args=inner)
    if not is_ctc:
        outer.update(pooling="mean", latent_embed_dim=12)
    torch.manual_seed(0)
    model = kind.build_model(
        OmegaConf.create(outer, flags={"allow_objects": True}),
        SimpleNamespace(target_dictionary=dictionary),
    )
    labels = "ltr" if is_ctc else "spk"
    finetune = {**TASK, "labels": labels, "normalize": normalize, "data": "/nowhere"}
    whole = {"model": outer, "task": finetune, "criterion": {"post_process": "letter"}}
    state = {"target_dictionary": dictionary}
    return save(path, model, whole, task_state=state, optimizer_history=[{"num_updates": 7}])
