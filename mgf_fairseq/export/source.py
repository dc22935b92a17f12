"""What an export starts from: a checkpoint's encoder, its head, its symbols, and its history.

Between the safe reading of checkpoints and the files of this folder, each of which writes one
format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ..checkpoints.encoder import EncoderCheckpoint, read_encoder
from ..checkpoints.files import interpreting
from ..checkpoints.keymap import rename
from ..checkpoints.reading import CheckpointError, config_of, find_checkpoint, read_checkpoint
from ..checkpoints.symbols import symbols_of
from ..encoder.geometry import parse_conv_layers
from ..encoder.speech_encoder import SpeechEncoder
from ..extract.encoder import build_encoder
from ..inference.wer import POST_PROCESS_OF_LABELS
from .standalone import Classifier, CtcModel, Encoder

ENCODER, CTC, CLASSIFIER = "encoder", "ctc", "classifier"
_TASKS = {
    **dict.fromkeys(("mgf", "wav2vec2", "hubert"), ENCODER),
    **dict.fromkeys(("wav2vec_ctc", "hubert_ctc"), CTC),
    "wav2vec_classification": CLASSIFIER,
}
_CTC_HEAD, _CLASS_HEAD = "w2v_encoder.proj.", "pooling_layer."
ACTIVATIONS = ("gelu", "relu", "tanh", "linear")


@dataclass(frozen=True)
class Source:
    """A checkpoint that has been read."""

    path: Path
    task: str  # what is exported: ENCODER, CTC or CLASSIFIER
    model: str  # name of the model in the checkpoint, as fairseq knows it
    held: EncoderCheckpoint
    encoder: SpeechEncoder = field(repr=False)
    head: dict[str, Tensor] = field(repr=False)
    symbols: tuple[str, ...] = ()  # one for each output of the head
    labels: str = ""  # ending of the label files that it was fine-tuned with
    post_process: str = ""  # how symbols become text: letter, sentencepiece or none
    activation: str = ""  # of a classifier, between pooling and projection

    @property
    def group_norm(self) -> bool:
        """Whether padding changes valid frames."""
        return self.held.config.extractor_mode == "default"

    def weights(self, framework: str, projection: str) -> dict[str, Tensor]:
        """The encoder's parameters under a framework's names.

        Args:
            framework: a field of `keymap.Names`.
            projection: its name for the layer between latents and Transformer; fairseq has none
                where the latents have the model's width, and the framework gets an identity.
        """
        weights = rename(self.held.weights, "fairseq", framework, self.group_norm)
        if f"{projection}.weight" not in weights:
            width = self.held.config.encoder_embed_dim
            weights[f"{projection}.weight"] = torch.eye(width)
            weights[f"{projection}.bias"] = torch.zeros(width)
        return weights

    def standalone(self) -> Encoder | CtcModel | Classifier:
        """The same model as one file of torch alone describes it, in evaluation mode."""
        model = build_standalone(self.settings())
        weights = self.held.weights
        if self.task != ENCODER:
            weights = {**{f"encoder.{k}": v for k, v in weights.items()}, **self.head}
        model.load_state_dict(weights, strict=True)
        return model.eval()

    def settings(self) -> dict[str, Any]:
        """What `build_standalone` needs."""
        config = self.held.config
        encoder = {
            "conv_layers": [list(layer) for layer in parse_conv_layers(config.conv_feature_layers)],
            "extractor_mode": config.extractor_mode,
            "conv_bias": config.conv_bias,
            "layers": config.encoder_layers,
            "width": config.encoder_embed_dim,
            "inner": config.encoder_ffn_embed_dim,
            "heads": config.encoder_attention_heads,
            "pre_norm": config.layer_norm_first,
            "conv_pos": config.conv_pos,
            "conv_pos_groups": config.conv_pos_groups,
            "normalize": self.held.normalize,
        }
        return {"task": self.task, "encoder": encoder, "head": self._head_settings()}

    def _head_settings(self) -> dict[str, Any]:
        if self.task == CTC:
            return {"outputs": len(self.symbols)}
        if self.task == CLASSIFIER:
            latent = len(self.head["linear.weight"])
            return {
                "latent": latent,
                "outputs": len(self.symbols),
                "activation": self.activation,
            }
        return {}


def build_standalone(settings: dict[str, Any]) -> Encoder | CtcModel | Classifier:
    """Build a model of standalone.py, without its weights."""
    encoder = Encoder(**settings["encoder"])
    if settings["task"] == CTC:
        return CtcModel(encoder, **settings["head"])
    if settings["task"] == CLASSIFIER:
        return Classifier(encoder, **settings["head"])
    return encoder


def read_source(
    path: Path | str, dictionary: Path | None = None, heads: Sequence[str] = ()
) -> Source:
    """Read a checkpoint to be exported, or of a run's folder the one to use.

    Args:
        path: the checkpoint or folder.
        dictionary: file of the fine-tuned model's symbols, where the checkpoint holds none.
        heads: kinds of fine-tuned models, of CTC and CLASSIFIER, that the format holds with their
            heads; none if it is about the encoder alone, of whatever fine-tuned model.

    Raises:
        CheckpointError: it is of a kind that cannot be exported, unsafe to load, or missing.
    """
    path = find_checkpoint(path)
    held = read_encoder(path)
    state = read_checkpoint(path)
    with interpreting(path):
        encoder = build_encoder(held, path).encoder.eval()
        config = config_of(state, path)
        name = str(OmegaConf.select(config, "model._name"))
        task = _TASKS.get(name, name)
        if task == ENCODER or not heads:
            if dictionary is not None:
                raise CheckpointError(f"--dict {dictionary}: no symbols are exported here")
            return Source(path, ENCODER, name, held, encoder, {})
        if task not in heads:
            raise CheckpointError(
                f"{path}: a {name!r} checkpoint, whose head this format cannot hold; export its "
                "encoder from the pre-trained checkpoint, or all of it with --to fairseq"
            )
        return _with_head(state, config, path, name, held, encoder, dictionary)


def _with_head(
    state: dict[str, Any],
    config: DictConfig,
    path: Path,
    name: str,
    held: EncoderCheckpoint,
    encoder: SpeechEncoder,
    dictionary: Path | None,
) -> Source:
    task = _TASKS[name]
    labels = str(OmegaConf.select(config, "task.labels"))
    head = _ctc_head(state, config, path) if task == CTC else _class_head(state, config, path)
    outputs = len(head["proj.weight" if task == CTC else "projection.weight"])
    symbols = symbols_of(
        state, path, labels, dictionary, path.parent, outputs, special=task == CTC
    ).symbols
    chosen = OmegaConf.select(config, "criterion.post_process")
    return Source(
        path,
        task,
        name,
        held,
        encoder,
        head,
        tuple(map(str, symbols)),
        labels,
        POST_PROCESS_OF_LABELS.get(labels, str(chosen or "letter")) if task == CTC else "",
        str(OmegaConf.select(config, "model.activation_fn") or "gelu") if task != CTC else "",
    )


def _ctc_head(state: dict[str, Any], config: DictConfig, path: Path) -> dict[str, Tensor]:
    head = _part(state, _CTC_HEAD, path, ("weight", "bias"))
    blank = float(OmegaConf.select(config, "model.blank_weight") or 0.0)
    if blank and str(OmegaConf.select(config, "model.blank_mode") or "add") != "add":
        raise CheckpointError(f"{path}: blank_mode=set cannot be exported; fine-tune without it")
    if blank:  # fairseq adds it to the blank's logit
        head["bias"] = head["bias"] + blank * torch.eye(len(head["bias"]))[0]
    return {f"proj.{name}": tensor for name, tensor in head.items()}


def _class_head(state: dict[str, Any], config: DictConfig, path: Path) -> dict[str, Tensor]:
    pooling = str(OmegaConf.select(config, "model.pooling"))
    activation = str(OmegaConf.select(config, "model.activation_fn") or "gelu")
    if pooling != "mean" or activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: pooling={pooling}, activation_fn={activation}: only pooling=mean with one of "
            f"{', '.join(ACTIVATIONS)} can be exported"
        )
    names = [f"{layer}.{end}" for layer in ("linear", "projection") for end in ("weight", "bias")]
    return _part(state, _CLASS_HEAD, path, names)


def _part(
    state: dict[str, Any], prefix: str, path: Path, names: Sequence[str]
) -> dict[str, Tensor]:
    missing = [f"{prefix}{name}" for name in names if f"{prefix}{name}" not in state["model"]]
    if missing:
        raise CheckpointError(f"{path}: fine-tuned, but without {missing[0]}")
    return {name: state["model"][f"{prefix}{name}"] for name in names}
