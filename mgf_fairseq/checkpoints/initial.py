"""Weights to begin a pre-training with: those of another encoder, compared and copied by name.

Reads what `mgf import` reads and fairseq's data2vec too; host/warm_start.py copies when a training
begins, never when it resumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..encoder.config import SHAPE_FIELDS, EncoderConfig
from ..encoder.geometry import parse_conv_layers
from .encoder import EncoderCheckpoint, read_encoder
from .files import CheckpointError, interpreting
from .reading import ENCODERS
from .transformers_folder import is_transformers, read_transformers

KINDS = (*ENCODERS, "data2vec_audio")
_OBJECTIVES = "objectives."
_POSITION = "encoder.pos_conv.0.weight_v"
_DEPTH = "encoder_layers"  # may differ: the lower layers match
_OF_POSITION = ("conv_pos", "conv_pos_groups")  # data2vec has a stack of them under other names


@dataclass(frozen=True)
class Initial:
    """What a training begins with."""

    weights: dict[str, Tensor]  # of the model, by its names
    fresh: list[str]  # of the encoder's parameters, which the source lacks
    unused: list[str]  # of the source's, which the model lacks
    source: EncoderCheckpoint


def read_initial(path: str | Path, config: EncoderConfig, model: Mapping[str, Tensor]) -> Initial:
    """Read an encoder and find the place of each of its weights in a model.

    Args:
        path: a checkpoint, the folder of its run, or a folder of transformers.
        config: of the model.
        model: its parameters by name; those of objectives stay fresh.

    Raises:
        CheckpointError: it cannot be read, or is of another shape; the message has the settings
            that fit it.
    """
    path = Path(path)
    if is_transformers(path):
        with interpreting(path):
            source = read_transformers(path).encoder
    else:
        source = read_encoder(path, KINDS)
    wanted = {name: tensor for name, tensor in model.items() if not name.startswith(_OBJECTIVES)}
    _require_shape(path, source, config, wanted)
    weights = {name: source.weights[name] for name in wanted if name in source.weights}
    if not weights:
        raise CheckpointError(f"model.init_from={path}: none of its parameters is of an encoder")
    return Initial(
        weights,
        [name for name in wanted if name not in weights],
        [name for name in source.weights if name not in weights],
        source,
    )


def _require_shape(
    path: Path, source: EncoderCheckpoint, config: EncoderConfig, wanted: Mapping[str, Tensor]
) -> None:
    """Compare settings and shapes.

    Raises:
        CheckpointError: they differ; it names the first parameter, or setting, and the fix.
    """
    differing = {
        name: getattr(source.config, name)
        for name in SHAPE_FIELDS
        if name != _DEPTH
        and _plain(source.config, name) != _plain(config, name)
        and not (name in _OF_POSITION and _POSITION not in source.weights)
    }
    shapes = (
        (name, tuple(source.weights[name].shape), tuple(tensor.shape))
        for name, tensor in wanted.items()
        if name in source.weights and source.weights[name].shape != tensor.shape
    )
    first = next(shapes, None)
    if not differing and first is None:
        return
    if first is not None:
        name, there, here = first
        problem = f"{name} is of shape {there} in it, and {here} in this model"
    else:
        name, value = next(iter(differing.items()))
        problem = f"its {name} is {value!r}, this model's {getattr(config, name)!r}"
    fix = " ".join(f"'model.{name}={value}'" for name, value in differing.items())
    raise CheckpointError(
        f"model.init_from={path}: {problem}; "
        + (f"give {fix}, or another checkpoint" if fix else "give another checkpoint")
    )


def _plain(config: EncoderConfig, name: str) -> object:
    value = getattr(config, name)
    return (
        parse_conv_layers(value)
        if name == "conv_feature_layers"
        else getattr(value, "value", value)
    )
