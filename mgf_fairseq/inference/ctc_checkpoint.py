"""The parts of a stock ``wav2vec_ctc`` checkpoint: configuration, dictionary, model.

Between the safe reading of checkpoints and recognizer.py, which puts the parts together.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2VecCtc
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from .. import plugin as plugin  # the model in the checkpoint may be ours
from ..checkpoints.files import CheckpointError
from ..checkpoints.reading import config_of
from .frame_model import build_with_weights

_FIT = {
    "wav2vec_seq2seq": "an attention decoder (seq2seq), and only CTC is decoded here: fine-tune "
    "by mgf finetune --task ctc, or read its WER in the log of training",
    "wav2vec_classification": "a classifier: mgf classify gives its labels",
    "hubert_ctc": "a HuBERT CTC model: mgf score reads wav2vec_ctc only",
    "hubert_seq2seq": "a HuBERT attention decoder: mgf score reads wav2vec_ctc only",
}


def ctc_config(state: dict[str, Any], path: Path) -> DictConfig:
    """Return the configuration of a ``wav2vec_ctc`` checkpoint.

    Raises:
        CheckpointError: it is of another kind; the message says which command fits.
    """
    config = config_of(state, path)
    name = OmegaConf.select(config, "model._name")
    if name == "wav2vec_ctc":
        if not OmegaConf.select(config, "model.w2v_args"):
            raise CheckpointError(
                f"{path}: a wav2vec_ctc checkpoint without w2v_args; not scorable"
            )
        return config
    kind = _FIT.get(
        str(name),
        f"a {name!r} checkpoint, not one fine-tuned with CTC: if it is pre-trained, fine-tune it "
        "first (examples/finetune)",
    )
    raise CheckpointError(f"{path}: this is {kind}")


def dictionary_of(
    state: dict[str, Any], labels: str, dictionary: Path | None, data: Path
) -> tuple[Dictionary, str]:
    """Return the dictionary and where it came from: the option, the checkpoint, the data folder.

    Raises:
        CheckpointError: there is none.
    """
    held = (state.get("task_state") or {}).get("target_dictionary")
    if dictionary is None and isinstance(held, Dictionary):
        return held, "the checkpoint"
    path = dictionary or data / f"dict.{labels}.txt"
    if path.is_dir():
        path = path / f"dict.{labels}.txt"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such dictionary, and the checkpoint holds none; name it with --dict"
        )
    return Dictionary.load(str(path)), str(path)


def build_ctc(
    config: DictConfig, symbols: Dictionary, weights: dict[str, Tensor], data: Path, path: Path
) -> nn.Module:
    """Build ``wav2vec_ctc`` from the configuration inside the checkpoint and load its weights.

    Raises:
        CheckpointError: weights and configuration differ.
    """
    OmegaConf.set_struct(config, False)
    config.model.w2v_path = ""
    config.model.data = config.task.data = str(data)
    config.model.normalize = config.task.normalize
    task = SimpleNamespace(target_dictionary=symbols)
    return build_with_weights(lambda: Wav2VecCtc.build_model(config.model, task), weights, path)
