"""Tiny checkpoints to export: encoders of several shapes, and fairseq's fine-tuned models on them.

A module of its own, so that tests of formats, examples and the command can share it.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import (
    Wav2Vec2CtcConfig,
    Wav2Vec2Seq2SeqConfig,
    Wav2Vec2Seq2SeqModel,
    Wav2VecCtc,
)
from fairseq.models.wav2vec.wav2vec2_classification import (
    Wav2Vec2ClassificationConfig,
    Wav2VecClassification,
)
from omegaconf import OmegaConf
from tiny import speech_like
from tiny_checkpoints import SHAPE, TASK, _plain, save

from mgf_fairseq.extract.encoder import load_encoder
from mgf_fairseq.model import MgfConfig, MgfModel

LETTERS = ("|", *"ABCDEFGH")
# What the exports must hold: norms, biases, an odd kernel, latents of the encoder's width.
SHAPES: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"layer_norm_first": True},
    "no biases": {"conv_bias": False, "conv_pos": 7},
    "group norm": {"extractor_mode": "default", "conv_bias": False},
    "as wide as the latents": {"encoder_embed_dim": 8},
}


def shuffled(model: torch.nn.Module) -> torch.nn.Module:
    """Move every parameter, so that none keeps a value that another framework starts from."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def pretraining_config(**overrides: Any) -> dict[str, Any]:
    """The configuration inside a pre-training checkpoint of this shape."""
    model = {**SHAPE, **overrides, "_name": "mgf"}
    return {
        "common": {"seed": 5},
        "task": {**TASK, "_name": "mgf_pretraining", "data": "", "seed": 5},
        "model": {**model, "objectives": None, "sample_rate": 16000, "seed": 1},
        "criterion": {"_name": "mgf", "loss_weights": {"frame": 0.5}},
    }


def encoder(path: Path, **overrides: Any) -> Path:
    """A pre-trained MGF that says how it was trained."""
    config = pretraining_config(**overrides)
    values = {k: v for k, v in config["model"].items() if k != "_name"}
    torch.manual_seed(1)
    model = shuffled(MgfModel(MgfConfig(**values)))
    config["model"]["objectives"] = {"frame": {"level": "50%"}}
    hours: Any = [(10, "audio_h", "", {"sum": torch.tensor(2.5)})]
    extra = {"previous_training_time": 7200.0, "metrics": {"default": hours}}
    return save(path, model, config, extra_state=extra, optimizer_history=[{"num_updates": 40}])


def dictionary(symbols: tuple[str, ...], special: bool = True) -> Dictionary:
    found = Dictionary(add_special_symbols=special)
    for symbol in symbols:
        found.add_symbol(symbol)
    return found


def _tuned(
    path: Path,
    kind: Any,
    config: Any,
    name: str,
    labels: str,
    symbols: Any,
    shape: str = "post-norm",
    **settings: Any,
) -> Path:
    held = {**_plain(OmegaConf.structured(config)), **settings, "_name": name}
    held |= {"w2v_path": "", "data": str(path.parent), "normalize": True}
    held |= {"w2v_args": pretraining_config(**SHAPES[shape]), "ddp_backend": "legacy_ddp"}
    held |= {"autoregressive": name == "wav2vec_seq2seq", "tpu": False}
    held = {key: value for key, value in held.items() if not str(value).startswith("${")}
    task = SimpleNamespace(target_dictionary=symbols, source_dictionary=None)
    torch.manual_seed(1)
    built = kind.build_model(OmegaConf.create(held, flags={"allow_objects": True}), task)
    outer: dict[str, Any] = {"model": held, "task": {**TASK, "labels": labels, "data": "gone"}}
    classifies = name == "wav2vec_classification"
    outer["task"]["_name"] = "audio_classification" if classifies else "audio_finetuning"
    return save(
        path,
        shuffled(built),
        outer,
        task_state={"target_dictionary": symbols},
        optimizer_history=[{"num_updates": 30}],
    )


def ctc(
    path: Path,
    labels: str = "ltr",
    symbols: tuple[str, ...] = LETTERS,
    post_process: str = "letter",
) -> Path:
    """A wav2vec_ctc on an MGF, as fairseq saves it."""
    held = dictionary(symbols)
    _tuned(path, Wav2VecCtc, Wav2Vec2CtcConfig, "wav2vec_ctc", labels, held)
    state = torch.load(path, weights_only=True)
    # Heard as different symbols over time: from an average of none, and louder.
    heard = load_encoder(path)(speech_like(1.0, seed=1)).hidden_states[-1][0]
    weight = 10 * state["model"]["w2v_encoder.proj.weight"]
    state["model"]["w2v_encoder.proj.weight"] = weight
    bias = -weight @ heard.mean(0)
    bias[1:4] -= 100  # never <pad>, </s> or <unk>, as in a trained one
    state["model"]["w2v_encoder.proj.bias"] = bias
    state["cfg"]["criterion"] = {"_name": "ctc", "post_process": post_process}
    torch.save(state, path)
    return path


def classifier_model(path: Path) -> torch.nn.Module:
    """The model in a checkpoint that `classifier` wrote, as fairseq builds it."""
    state = torch.load(path, weights_only=True)
    task = SimpleNamespace(target_dictionary=state["task_state"]["target_dictionary"])
    config = OmegaConf.create(state["cfg"]["model"], flags={"allow_objects": True})
    model: torch.nn.Module = Wav2VecClassification.build_model(config, task)
    model.load_state_dict(state["model"])
    return model.eval()


def classifier(path: Path, activation: str = "linear", shape: str = "post-norm") -> Path:
    """A wav2vec_classification of three classes, on an encoder of one of `SHAPES`."""
    classes = dictionary(("ann", "bob", "eve"), special=False)
    return _tuned(
        path,
        Wav2VecClassification,
        Wav2Vec2ClassificationConfig,
        "wav2vec_classification",
        "speaker",
        classes,
        shape,
        pooling="mean",
        activation_fn=activation,
        latent_embed_dim=6,
    )


def seq2seq(path: Path) -> Path:
    """A wav2vec_seq2seq."""
    sizes = {"decoder_layers": 1, "decoder_ffn_embed_dim": 16, "decoder_embed_dim": 512}
    return _tuned(
        path,
        Wav2Vec2Seq2SeqModel,
        Wav2Vec2Seq2SeqConfig,
        "wav2vec_seq2seq",
        "ltr",
        dictionary(LETTERS),
        **sizes,
    )


# torchaudio does not load beside a torch without CUDA, where transformers would import it.
WITHOUT_TORCHAUDIO = "import sys\nsys.modules['torchaudio'] = None\n"
# A package torchaudio with its own files of the wav2vec 2.0 model, and no more.
TORCHAUDIO_MODELS = """
import importlib, importlib.util, sys, types
folder = importlib.util.find_spec("torchaudio").submodule_search_locations[0]
for name, path in (("torchaudio", ""), ("torchaudio.models", "/models")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder + path]
package = types.ModuleType("torchaudio.models.wav2vec2")
package.__path__ = [folder + "/models/wav2vec2"]
sys.modules["torchaudio.models.wav2vec2"] = package
model = importlib.import_module("torchaudio.models.wav2vec2.model")
sys.modules["torchaudio.models"].wav2vec2_model = model.wav2vec2_model
sys.modules["torchaudio"].models = sys.modules["torchaudio.models"]
"""


def run_elsewhere(code: str, folder: Path, *blocked: str) -> dict[str, Any]:
    """Run code in a process where these packages cannot be imported; return what it saved.

    It saves by `keep(name=value, ...)`.
    """
    result = folder / "kept.pt"
    blocks = "".join(f"sys.modules[{name!r}] = None\n" for name in blocked)
    start = f"import sys, torch\n{blocks}kept = {{}}\nkeep = kept.update\ntorch.manual_seed(0)\n"
    end = f"\ntorch.save(kept, {str(result)!r})\n"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + code + end],
        check=True,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=600,
    )
    kept: dict[str, Any] = torch.load(result, weights_only=True)
    return kept
