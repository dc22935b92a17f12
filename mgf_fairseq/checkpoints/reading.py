"""Find checkpoints, and read them without running code from them.

Every command that takes a checkpoint comes through here; training itself goes through fairseq.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from omegaconf import DictConfig, OmegaConf

from ..encoder.config import EncoderConfig
from ..encoder.geometry import parse_conv_layers
from .files import CheckpointError as CheckpointError
from .files import interpreting, peek_state, read_state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a fairseq checkpoint without running any code that it may hold.

    Beside tensors and plain containers only two classes are let through, neither of which does
    anything: fairseq's ``Dictionary``, which a fine-tuning checkpoint keeps in ``task_state``, and
    ``argparse.Namespace``, which holds the configuration of fairseq's checkpoints before hydra.

    Raises:
        CheckpointError: no such file, not a checkpoint, broken, of a newer format, or it holds
            other classes.
    """
    return read_state(path, SAFE_CLASSES)


LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"  # as fairseq calls them
ENCODERS = ("mgf", "wav2vec2", "hubert")  # names of models that hold an encoder of one form
PRETRAINED = (*ENCODERS, "apc")  # whose last checkpoint is the one to use


def find_checkpoint(path: Path | str) -> Path:
    """The checkpoint that a path names: itself, or of a run's folder the one to use.

    That is the best of a fine-tuning and the last of a pre-training, whose lowest loss says little
    about its features; the other where there is but one.

    Raises:
        CheckpointError: there is none, or the one that says which run this is cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    found = [path / name for name in (LAST, BEST) if (path / name).is_file()]
    if not found:
        raise CheckpointError(f"{path}: a folder without {LAST} or {BEST}; {_where_else(path)}")
    if len(found) == 1:
        return found[0]
    last, best = found
    return last if model_name(last) in PRETRAINED else best


def model_name(path: Path) -> str:
    """The name of the model in a checkpoint file, such as mgf or wav2vec_ctc.

    Raises:
        CheckpointError: it cannot be read.
    """
    with interpreting(path):
        return str(OmegaConf.select(config_of(peek_state(path, SAFE_CLASSES), path), "model._name"))


def _where_else(folder: Path) -> str:
    """What to give in the place of a folder without checkpoints."""
    below = [run for run in sorted(folder.iterdir()) if (run / LAST).is_file()]
    files = sorted(folder.glob("*.pt"))
    if below or files:
        return f"did you mean {', '.join(map(str, [*below, *files][:5]))}?"
    return "give the file, or checkpoint.save_dir of a training"


def require_fit(config: EncoderConfig, weights: Mapping[str, Any], path: Path | str) -> None:
    """Compare shapes before an encoder is built, which may take any time and memory.

    Raises:
        CheckpointError: configuration and weights differ.
    """
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layers.")}
    if len(layers) != config.encoder_layers:
        raise CheckpointError(
            f"{path}: its encoder is not of this form: encoder_layers={config.encoder_layers}, "
            f"but weights of {len(layers)}"
        )
    width, kernel = config.encoder_embed_dim, config.conv_pos
    expected: dict[str, tuple[int, ...]] = {
        "mask_emb": (width,),
        "encoder.layers.0.fc1.weight": (config.encoder_ffn_embed_dim, width),
        "encoder.pos_conv.0.weight_v": (width, width // config.conv_pos_groups, kernel),
    }
    before = 1
    for number, (channels, size, _) in enumerate(parse_conv_layers(config.conv_feature_layers)):
        expected[f"feature_extractor.conv_layers.{number}.0.weight"] = (channels, before, size)
        before = channels
    for name, shape in expected.items():
        found = tuple(weights[name].shape) if name in weights else "not there"
        if found != shape:
            raise CheckpointError(
                f"{path}: its encoder is not of this form: {name} is {found}, but {shape} by its "
                "configuration"
            )


def config_of(state: dict[str, Any], path: Path) -> DictConfig:
    """Take a checkpoint's configuration, from before fairseq's hydra too.

    Raises:
        CheckpointError: it was saved without one.
    """
    config = state.get("cfg")
    if not config and isinstance(state.get("args"), Namespace):
        config = _grouped(state["args"])
    if not config:
        raise CheckpointError(
            f"{path}: holds no configuration ('cfg'); it was exported without. Give the file that "
            "fairseq-hydra-train saved"
        )
    return OmegaConf.create(config, flags={"allow_objects": True})


def _grouped(arguments: Namespace) -> dict[str, Any]:
    """Sort the flat arguments of old checkpoints into the groups that we read.

    Each group gets them all; a fine-tuned one's hold those of pre-training in ``w2v_args``.
    """
    flat = {
        name: _grouped(value) if isinstance(value, Namespace) else value
        for name, value in vars(arguments).items()
    }
    model, task = {**flat, "_name": flat.get("arch")}, {**flat, "_name": flat.get("task")}
    return {"model": model, "task": task, "common": {"seed": flat.get("seed")}}


# What checkpoints hold beside tensors and plain containers: a fine-tuning's dictionary, and the
# configuration of those from before hydra. Neither does anything.
SAFE_CLASSES: tuple[type, ...] = (Dictionary, Namespace)
