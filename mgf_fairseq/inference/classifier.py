"""A fine-tuned stock ``wav2vec_classification`` checkpoint: recordings in, labels out.

Beside recognizer.py, on the same frames, pieces and batches; a long recording is pooled piece by
piece, which is what pooling the whole would give.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_classification import MeanPoolingFast, Wav2VecClassification
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .. import plugin as plugin  # the model in the checkpoint may be ours
from ..checkpoints.files import CheckpointError, interpreting
from ..checkpoints.reading import config_of, find_checkpoint, read_checkpoint
from ..checkpoints.symbols import symbols_of
from ..encoder.geometry import ConvGeometry, parse_conv_layers
from ..extract.waveforms import Waveforms, as_list
from ..utils.progress import Progress
from .frame_model import FrameModel, build_with_weights
from .long_audio import Recording, Run, flags_of

KIND = "wav2vec_classification"
_FIT = {
    "wav2vec_ctc": "a recognizer: mgf transcribe",
    "wav2vec_seq2seq": "a recognizer: mgf transcribe",
}


@dataclass(frozen=True)
class Classified:
    """What a classifier makes of one recording."""

    name: str
    label: str | None  # None where nothing can be said: see flags
    probability: float | None
    probabilities: dict[str, float]  # of all labels, the likeliest first
    seconds: float  # of audio
    flags: list[str]  # what a reader must know: silent, too short


def frame_features(model: nn.Module, source: Tensor, padding_mask: Tensor) -> Tensor:
    """(B, S) and its mask -> (B, T, D): what the pooling averages."""
    encoded: Tensor = model.w2v_encoder(source=source, padding_mask=padding_mask)["encoder_out"]  # type: ignore[operator]
    features: Tensor = model.pooling_layer.linear(encoded)  # type: ignore[union-attr,operator]
    return features.transpose(0, 1)  # (T, B, D) -> (B, T, D)


@dataclass(frozen=True)
class Classifier:
    """A model with its labels."""

    frames: FrameModel
    head: MeanPoolingFast
    labels: list[str]
    ending: str  # of the label files it was trained on, such as spk

    @classmethod
    def load(
        cls,
        path: str | Path,
        dictionary: str | Path | None = None,
        device: str | torch.device = "cpu",
    ) -> Classifier:
        """Load a checkpoint, or the folder of its run, without running code from it.

        Args:
            path: of a ``wav2vec_classification`` fine-tuning run.
            dictionary: ``dict.<labels>.txt``, for a checkpoint that holds none.
            device: where to compute.

        Raises:
            CheckpointError: another kind of checkpoint, or weights and labels do not fit.
        """
        path = find_checkpoint(path)
        state = read_checkpoint(path)
        with interpreting(path):
            found = _classifier(state, path, dictionary)
        found.frames.to(device)
        return found

    def __call__(self, waveforms: Waveforms, sample_rate: int | None = None) -> list[Classified]:
        """Classify one waveform or several, of any lengths: arrays, tensors or paths.

        Args:
            waveforms: arrays or tensors of (S,), mono, or paths of audio files.
            sample_rate: Hz of the arrays, which are resampled; the model's if None.

        Raises:
            ValueError: a waveform cannot be used; the message says which, and why.
        """
        return self.run(sample_rate=sample_rate).all_of(as_list(waveforms))

    def run(
        self,
        batch_seconds: float = 60.0,
        sample_rate: int | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> Run[Classified]:
        """What classifies recordings, one after the other."""
        return Run(self.frames, self._finish, batch_seconds, sample_rate, progress, "classify")

    def _finish(self, recording: Recording, frames: Iterable[Tensor]) -> Classified:
        probabilities = self._probabilities(frames)
        flags = flags_of(recording, self.frames.geometry)
        if flags or probabilities is None:
            return Classified(recording.name, None, None, {}, round(recording.seconds, 3), flags)
        order = probabilities.argsort(descending=True, stable=True).tolist()
        ranked = {self.labels[place]: float(probabilities[place]) for place in order}
        label = next(iter(ranked))
        seconds = round(recording.seconds, 3)
        return Classified(recording.name, label, ranked[label], ranked, seconds, flags)

    @torch.no_grad()
    def _probabilities(self, frames: Iterable[Tensor]) -> Tensor | None:
        """Stretches of (T, D) -> (C,); None of no frames."""
        total: Tensor | None = None
        count = 0
        for stretch in frames:
            part = stretch.double().sum(dim=0)
            total = part if total is None else total + part
            count += len(stretch)
        if total is None:
            return None
        pooled = (total / count).to(self.head.projection.weight.dtype)
        logits: Tensor = self.head.projection(self.head.activation_fn(pooled))
        return logits.float().softmax(dim=-1).cpu()


def _classifier(state: dict[str, Any], path: Path, dictionary: str | Path | None) -> Classifier:
    config = config_of(state, path)
    name = str(OmegaConf.select(config, "model._name"))
    if name != KIND:
        fit = _FIT.get(name, "fine-tune it first (examples/finetune, classification)")
        raise CheckpointError(f"{path}: a {name!r} checkpoint and no classifier; {fit}")
    ending = str(config.task.labels)
    weight = state["model"].get("pooling_layer.projection.weight")
    outputs = None if weight is None else len(weight)
    symbols = symbols_of(state, path, ending, dictionary, path.parent, outputs, special=False)
    model = _build(config, symbols, state["model"], path)
    encoder = config.model.w2v_args.model
    frames = FrameModel(
        model,
        frame_features,
        ConvGeometry.of(parse_conv_layers(str(encoder.conv_feature_layers))),
        int(model.pooling_layer.latent_embed_dim),
        int(config.task.sample_rate),
        bool(config.task.normalize),
        OmegaConf.select(encoder, "extractor_mode") != "default",
    )
    labels = [str(symbols[place]) for place in range(len(symbols))]
    return Classifier(frames, model.pooling_layer, labels, ending)


def _build(
    config: DictConfig, symbols: Dictionary, weights: dict[str, Tensor], path: Path
) -> Wav2VecClassification:
    """Build the model from the configuration inside the checkpoint and load its weights."""
    if not OmegaConf.select(config, "model.w2v_args"):
        raise CheckpointError(f"{path}: a {KIND} checkpoint without w2v_args; it cannot be built")
    OmegaConf.set_struct(config, False)
    config.model.w2v_path = ""
    config.model.normalize = config.task.normalize
    task = SimpleNamespace(target_dictionary=symbols)
    return build_with_weights(
        lambda: Wav2VecClassification.build_model(config.model, task), weights, path
    )
