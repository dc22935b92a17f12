"""One table of parameter names: ours and fairseq's, those of transformers, those of torchaudio.

Exports and the import of other frameworks' weights translate by it, and refuse what it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Names(NamedTuple):
    """One module or parameter in each framework; ``#`` is a number, an empty name is nothing."""

    fairseq: str
    huggingface: str
    torchaudio: str


_LAYER = ("encoder.layers.#.", "encoder.layers.#.", "encoder.transformer.layers.#.")
_IN_LAYER = (
    *((f"self_attn.{p}_proj", f"attention.{p}_proj", f"attention.{p}_proj") for p in "kvq"),
    ("self_attn.out_proj", "attention.out_proj", "attention.out_proj"),
    ("self_attn_layer_norm", "layer_norm", "layer_norm"),
    ("fc1", "feed_forward.intermediate_dense", "feed_forward.intermediate_dense"),
    ("fc2", "feed_forward.output_dense", "feed_forward.output_dense"),
    ("final_layer_norm", "final_layer_norm", "final_layer_norm"),
)
_POSITION = ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv.")
_CONV = "feature_extractor.conv_layers.#."
TABLE: tuple[Names, ...] = (
    Names("mask_emb", "masked_spec_embed", ""),
    Names(f"{_CONV}0", f"{_CONV}conv", f"{_CONV}conv"),
    Names(f"{_CONV}2.1", f"{_CONV}layer_norm", f"{_CONV}layer_norm"),
    Names("layer_norm", "feature_projection.layer_norm", "encoder.feature_projection.layer_norm"),
    Names(
        "post_extract_proj",
        "feature_projection.projection",
        "encoder.feature_projection.projection",
    ),
    *(
        Names(*(f"{place}{name}" for place, name in zip(places, names, strict=True)))
        for places in [(*_POSITION, "encoder.transformer.pos_conv_embed.conv.")]
        for names in (
            ("weight_g", *["parametrizations.weight.original0"] * 2),
            ("weight_v", *["parametrizations.weight.original1"] * 2),
            ("bias",) * 3,
        )
    ),
    Names("encoder.layer_norm", "encoder.layer_norm", "encoder.transformer.layer_norm"),
    *(
        Names(*(f"{place}{name}" for place, name in zip(_LAYER, names, strict=True)))
        for names in _IN_LAYER
    ),
)
# A group norm, which the first convolution alone may have, is one step higher in fairseq.
_GROUP_NORM = "feature_extractor.conv_layers.0.2"
# How transformers called the positional weights before torch's parametrizations.
_OLD = {
    f"{_POSITION[1]}weight_g": f"{_POSITION[1]}parametrizations.weight.original0",
    f"{_POSITION[1]}weight_v": f"{_POSITION[1]}parametrizations.weight.original1",
}


def rename(
    weights: Mapping[str, Tensor], before: str, after: str, group_norm: bool = False
) -> dict[str, Tensor]:
    """Give parameters the names of another framework; those that it lacks are not in the result.

    Args:
        weights: of an encoder alone.
        before: the names they have: a field of `Names`.
        after: the names they get.
        group_norm: whether the first convolution is followed by a group norm.

    Raises:
        ValueError: a parameter that is not in the table.
    """
    table = _patterns(before)
    renamed = {}
    for key, tensor in weights.items():
        name = _renamed(_OLD.get(key, key), table, before, after, group_norm)
        if name:
            renamed[name] = tensor
    return renamed


def _renamed(
    key: str, table: list[tuple[re.Pattern[str], Names]], before: str, after: str, group_norm: bool
) -> str:
    if before == "fairseq" and key.startswith(f"{_GROUP_NORM}.") and group_norm:
        key = key.replace(_GROUP_NORM, f"{_GROUP_NORM}.1")
    for pattern, names in table:
        found = pattern.fullmatch(key)
        if found:
            name: str = getattr(names, after)
            if not name:
                return ""
            name = name.replace("#", found["number"] or "") if "#" in name else name
            name = f"{name}{found['end']}"
            if after == "fairseq" and group_norm:
                name = name.replace(f"{_GROUP_NORM}.1", _GROUP_NORM)
            return name
    raise ValueError(
        f"{key}: no such parameter in the encoders that can be translated (wav2vec 2.0 and HuBERT "
        "as published, without adapters or relative positions)"
    )


def _patterns(framework: str) -> list[tuple[re.Pattern[str], Names]]:
    found = []
    for names in TABLE:
        name: str = getattr(names, framework)
        if name:
            text = re.escape(name).replace(r"\#", r"(?P<number>\d+)")
            if "#" not in name:
                text += "(?P<number>)"
            found.append((re.compile(rf"{text}(?P<end>(?:\.(?:weight|bias))?)"), names))
    return found
