"""The head of a fine-tuned wav2vec 2.0 or HuBERT of transformers, as fairseq's models have it.

CTC and sequence classification; importing.py puts it and the encoder into one checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from fairseq.models.wav2vec.wav2vec2_classification import Wav2Vec2ClassificationConfig
from torch import Tensor

from ..checkpoints.reading import CheckpointError
from ..checkpoints.transformers_folder import TransformersModel

_NEVER = -1e4  # logit of a symbol that transformers' model does not have; fp16 can hold it
_WORD_STARTS = "\u2581"  # SentencePiece
# fairseq's special symbols in their order, and what transformers calls them; the first is the
# blank, which transformers' models give as pad_token_id.
_SPECIAL = {"<pad>": "bos_token", "</s>": "eos_token", "<unk>": "unk_token"}
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}  # its defaults


@dataclass(frozen=True)
class Head:
    """What turns an encoder into one of fairseq's fine-tuned models."""

    model: str  # wav2vec_ctc or wav2vec_classification
    task: str  # of fairseq
    config: type[FairseqDataclass]
    settings: dict[str, Any]  # of the model, beside the defaults
    weights: dict[str, Tensor] = field(repr=False)  # under fairseq's names
    symbols: Dictionary = field(repr=False)  # one for each output
    labels: str  # ending of the label files
    criterion: dict[str, Any]

    def model_config(self) -> dict[str, Any]:
        """The model's configuration; what depends on others is for the reader to set."""
        defaults = {
            f.name: f.default
            for f in fields(self.config)
            if f.default is not MISSING and not str(f.default).startswith(("${", "???"))
        }
        return {**defaults, **self.settings, "_name": self.model, "w2v_path": ""}


def read_head(found: TransformersModel, folder: Path) -> Head:
    """Read the head of a fine-tuned model.

    Raises:
        CheckpointError: there is none, it is of another form, or its symbols are not there.
    """
    if "lm_head.weight" in found.heads:
        return _ctc(found, folder)
    if "classifier.weight" in found.heads and "projector.weight" in found.heads:
        return _classifier(found, folder)
    held = ", ".join(sorted({name.split(".")[0] for name in found.heads})) or "an encoder alone"
    raise CheckpointError(
        f"{folder}: it holds {held}, and no head for CTC or for classes of whole utterances; "
        "import it without --head"
    )


def _ctc(found: TransformersModel, folder: Path) -> Head:
    weight, bias = (found.heads[f"lm_head.{end}"] for end in ("weight", "bias"))
    rows, special, delimiter = _vocabulary(folder, len(weight))
    blank = found.config.get("pad_token_id", 0)
    if blank not in rows:
        raise CheckpointError(f"{folder}: pad_token_id={blank}, CTC's blank, is no output of it")
    places: list[int | None] = [blank, *(special[token] for token in _SPECIAL.values())]
    plain = {place: rows[place] for place in sorted(rows) if place not in places}
    texts, labels, process = _spelled(list(plain.values()), delimiter)
    symbols = Dictionary()
    for text in texts:
        symbols.add_symbol(text)
    places += plain
    if len(symbols) != len(places):
        raise CheckpointError(
            f"{folder}: two symbols of vocab.json are the same, or one is special"
        )
    absent = torch.tensor([place is None for place in places])
    chosen = torch.tensor([place or 0 for place in places])
    weights = {
        "w2v_encoder.proj.weight": weight[chosen].masked_fill(absent[:, None], 0.0),
        "w2v_encoder.proj.bias": bias[chosen].masked_fill(absent, _NEVER),
    }
    return Head(
        "wav2vec_ctc",
        "audio_finetuning",
        Wav2Vec2CtcConfig,
        {},
        weights,
        symbols,
        labels,
        {"_name": "ctc", "post_process": process},
    )


def _classifier(found: TransformersModel, folder: Path) -> Head:
    if found.config.get("use_weighted_layer_sum"):
        raise CheckpointError(
            f"{folder}: its classes are read from a weighted sum of layers, which fairseq's "
            "classifier does not have; import it without --head"
        )
    names = {int(number): str(label) for number, label in found.config["id2label"].items()}
    outputs = len(found.heads["classifier.weight"])
    if sorted(names) != list(range(outputs)) or len(set(names.values())) < outputs:
        raise CheckpointError(
            f"{folder}: id2label does not name each of its {outputs} classes once"
        )
    symbols = Dictionary(add_special_symbols=False)
    for number in range(outputs):
        symbols.add_symbol(names[number])
    parts = {"projector": "linear", "classifier": "projection"}
    weights = {
        f"pooling_layer.{ours}.{end}": found.heads[f"{theirs}.{end}"]
        for theirs, ours in parts.items()
        for end in ("weight", "bias")
    }
    settings = {
        "activation_fn": "linear",
        "latent_embed_dim": len(found.heads["projector.weight"]),
        "pooling": "mean",
    }
    return Head(
        "wav2vec_classification",
        "audio_classification",
        Wav2Vec2ClassificationConfig,
        settings,
        weights,
        symbols,
        "label",
        {"_name": "model"},
    )


def _vocabulary(
    folder: Path, outputs: int
) -> tuple[dict[int, str], dict[str, int | None], str | None]:
    """The symbol of each output, the output of each special token, and what separates words."""
    held = _json(folder / "vocab.json")
    if held is None:
        raise CheckpointError(
            f"{folder}: vocab.json is missing, which names the symbols of its head; fetch it too, "
            "or import without --head"
        )
    held |= _json(folder / "added_tokens.json") or {}
    if not all(isinstance(place, int) for place in held.values()):
        raise CheckpointError(
            f"{folder}: vocab.json has a vocabulary per language, not one; import without --head"
        )
    rows = {place: text for text, place in held.items() if place < outputs}
    if len(rows) < outputs:
        missing = min(set(range(outputs)) - set(rows))
        raise CheckpointError(
            f"{folder}: the model has {outputs} outputs, and vocab.json has no symbol for number "
            f"{missing}"
        )
    said = _json(folder / "tokenizer_config.json") or {}
    said = {**(_json(folder / "special_tokens_map.json") or {}), **said}
    tokens = {name: _text(said.get(name), default) for name, default in _TOKENS.items()}
    by_text = {text: place for place, text in rows.items()}
    special = {name: by_text.get(token) for name, token in tokens.items()}
    delimiter = _text(said.get("word_delimiter_token", "|"), "")
    return rows, special, delimiter if delimiter in by_text else None


def _spelled(texts: list[str], delimiter: str | None) -> tuple[list[str], str, str]:
    """Symbols as label files of fairseq have them, their ending, and how they become text."""
    if delimiter is not None:
        return ["|" if text == delimiter else text for text in texts], "ltr", "letter"
    if any(text.startswith(" ") for text in texts):
        return [text.replace(" ", _WORD_STARTS) for text in texts], "spm", "sentencepiece"
    if texts and all(text.endswith(" ") for text in texts):
        return [text.rstrip(" ") for text in texts], "phn", "none"
    return texts, "ltr", "letter"


def _json(path: Path) -> dict[str, Any] | None:
    """What a file holds, or None if there is none."""
    if not path.is_file():
        return None
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return held


def _text(token: Any, default: str) -> str:
    """A token as tokenizers save it: text, or a mapping with it, or nothing."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return default if token is None else str(token)
