"""The parts of a stock ``wav2vec_ctc`` or ``wav2vec_seq2seq``: configuration and model.

Between the safe reading of checkpoints and recognizer.py, which puts the parts together.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2Seq2SeqModel, Wav2VecCtc
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .. import plugin as plugin  # the model in the checkpoint may be ours
from ..checkpoints.files import CheckpointError
from ..checkpoints.reading import config_of
from .frame_model import build_with_weights

CTC, SEQ2SEQ = "wav2vec_ctc", "wav2vec_seq2seq"
_MODELS = {CTC: Wav2VecCtc, SEQ2SEQ: Wav2Vec2Seq2SeqModel}
_FIT = {
    "wav2vec_classification": "a classifier: mgf classify gives its labels",
    "hubert_ctc": "a HuBERT CTC model: only wav2vec_ctc and wav2vec_seq2seq are read",
    "hubert_seq2seq": "a HuBERT attention decoder: only wav2vec_ctc and wav2vec_seq2seq are read",
}


def recognizer_config(state: dict[str, Any], path: Path) -> DictConfig:
    """Return the configuration of a ``wav2vec_ctc`` or ``wav2vec_seq2seq`` checkpoint.

    Raises:
        CheckpointError: it is of another kind; the message says which command fits.
    """
    config = config_of(state, path)
    name = OmegaConf.select(config, "model._name")
    if name in _MODELS:
        if not OmegaConf.select(config, "model.w2v_args"):
            raise CheckpointError(
                f"{path}: a {name} checkpoint without w2v_args; it cannot be built"
            )
        return config
    kind = _FIT.get(
        str(name),
        f"a {name!r} checkpoint, not one fine-tuned to recognize: if it is pre-trained, fine-tune "
        "it first (examples/finetune)",
    )
    raise CheckpointError(f"{path}: this is {kind}")


def build_recognizer(
    config: DictConfig, symbols: Dictionary, weights: dict[str, Tensor], data: Path, path: Path
) -> nn.Module:
    """Build the model from the configuration inside the checkpoint and load its weights.

    Raises:
        CheckpointError: weights and configuration differ.
    """
    OmegaConf.set_struct(config, False)
    config.model.w2v_path = ""
    config.model.data = config.task.data = str(data)
    config.model.normalize = config.task.normalize
    config.model.autoregressive = config.model._name == SEQ2SEQ
    kind = _MODELS[config.model._name]
    task = SimpleNamespace(target_dictionary=symbols, source_dictionary=None)
    return build_with_weights(lambda: kind.build_model(config.model, task), weights, path)
