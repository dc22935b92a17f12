"""Folders that transformers loads by itself, as Wav2Vec2Model and its CTC and classifying forms.

The encoder is wav2vec 2.0's in all kinds of checkpoints, HuBERT's too, so it is one model type.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..encoder.config import EncoderConfig
from ..encoder.geometry import parse_conv_layers
from .folder import write_json, write_weights
from .parity import Difference, Rows, compare
from .source import CLASSIFIER, CTC, ENCODER, Source

NEEDS = ("transformers", "safetensors")
HEADS = (CTC, CLASSIFIER)
_CLASSES = {
    ENCODER: "Wav2Vec2Model",
    CTC: "Wav2Vec2ForCTC",
    CLASSIFIER: "Wav2Vec2ForSequenceClassification",
}
# CTC's blank is index 0, fairseq's <s>; transformers takes its <pad> for it.
_BLANK, _BOS, _EOS, _UNKNOWN = 0, 1, 2, 3
_NAMES = {0: "<pad>", 1: "<s>", 2: "</s>", 3: "<unk>"}
_WORD_STARTS = "\u2581"  # SentencePiece
_GAP = " "


class UnfitError(ValueError):
    """A model that transformers has no class for."""


def usage(source: Source) -> str:
    """Code that loads an export."""
    if source.task != ENCODER:
        words = {CTC: "automatic-speech-recognition", CLASSIFIER: "audio-classification"}
        return f"""\
import soundfile
from transformers import pipeline

model = pipeline("{words[source.task]}", "DEST")
waveform, rate = soundfile.read("utterance.wav", dtype="float32")  # one channel
print(model({{"raw": waveform, "sampling_rate": rate}}))
"""
    return """\
import torch
from transformers import AutoFeatureExtractor, AutoModel

prepare = AutoFeatureExtractor.from_pretrained("DEST")
model = AutoModel.from_pretrained("DEST")
waveforms = [torch.randn(16000).numpy(), torch.randn(12000).numpy()]
inputs = prepare(waveforms, sampling_rate=16000, padding=True, return_tensors="pt")
with torch.no_grad():
    hidden_states = model(**inputs, output_hidden_states=True).hidden_states  # per layer (B, T, D)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Write the folder, load it with transformers, and compare.

    Raises:
        UnfitError: a classifier with an activation, which transformers' class does not have.
    """
    if source.task == CLASSIFIER and source.activation != "linear":
        raise UnfitError(
            f"{source.path}: its head has activation_fn={source.activation}, and transformers' "
            "Wav2Vec2ForSequenceClassification has none; fine-tune with "
            "model.activation_fn=linear, as the recipes do now, or export --to onnx, torchscript "
            "or torch-export"
        )
    write_weights(folder / "model.safetensors", weights_of(source))
    write_json(folder / "config.json", model_config(source))
    write_json(folder / "preprocessor_config.json", preprocessor_config(source))
    if source.task == CTC:
        vocabulary = vocabulary_of(source)
        write_json(folder / "vocab.json", vocabulary)
        write_json(folder / "tokenizer_config.json", tokenizer_config(source, vocabulary))
    return compare(source, _loaded(source, folder))


def weights_of(source: Source) -> dict[str, Tensor]:
    """All parameters under transformers' names."""
    weights = source.weights("huggingface", "feature_projection.projection")
    if source.task == ENCODER:
        return weights
    head = {"proj": "lm_head", "linear": "projector", "projection": "classifier"}
    named = {
        f"{head[name.split('.')[0]]}.{name.split('.')[1]}": tensor
        for name, tensor in source.head.items()
    }
    return {**{f"wav2vec2.{name}": tensor for name, tensor in weights.items()}, **named}


def encoder_config(config: EncoderConfig) -> dict[str, Any]:
    """The encoder's shape and dropouts in transformers' words."""
    channels, kernels, strides = zip(*parse_conv_layers(config.conv_feature_layers), strict=True)
    return {
        "model_type": "wav2vec2",
        "hidden_size": config.encoder_embed_dim,
        "num_hidden_layers": config.encoder_layers,
        "num_attention_heads": config.encoder_attention_heads,
        "intermediate_size": config.encoder_ffn_embed_dim,
        "hidden_act": "gelu",
        "hidden_dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "feat_proj_dropout": config.dropout_input,
        "layerdrop": config.encoder_layerdrop,
        "layer_norm_eps": 1e-5,
        "feat_extract_norm": "group" if config.extractor_mode == "default" else "layer",
        "feat_extract_activation": "gelu",
        "conv_dim": list(channels),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": config.conv_bias,
        "num_conv_pos_embeddings": config.conv_pos,
        "num_conv_pos_embedding_groups": config.conv_pos_groups,
        "do_stable_layer_norm": config.layer_norm_first,
    }


def model_config(source: Source) -> dict[str, Any]:
    """What config.json holds."""
    config = {
        "architectures": [_CLASSES[source.task]],
        **encoder_config(source.held.config),
        "dtype": "float32",
    }
    if source.task == CTC:
        config |= {
            "vocab_size": len(source.symbols),
            "pad_token_id": _BLANK,
            "bos_token_id": _BOS,
            "eos_token_id": _EOS,
            "ctc_loss_reduction": "mean",
            "ctc_zero_infinity": True,
        }
    if source.task == CLASSIFIER:
        config |= {
            "classifier_proj_size": len(source.head["linear.weight"]),
            "id2label": {str(n): symbol for n, symbol in enumerate(source.symbols)},
            "label2id": {symbol: n for n, symbol in enumerate(source.symbols)},
        }
    return config


def preprocessor_config(source: Source) -> dict[str, Any]:
    """What AutoFeatureExtractor reads."""
    config = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": source.held.sample_rate,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": source.held.normalize,
        "return_attention_mask": True,
    }
    return {**config, "processor_class": "Wav2Vec2Processor"} if source.task == CTC else config


def vocabulary_of(source: Source) -> dict[str, int]:
    """Symbol to index as transformers' CTC tokenizer reads them, which joins them as they are.

    So the start of a word in SentencePiece, and the gap between phones, are spaces in the symbols.
    """
    symbols = [_NAMES.get(number, symbol) for number, symbol in enumerate(source.symbols)]
    plain = slice(len(_NAMES), None)
    if source.post_process == "sentencepiece":
        symbols[plain] = [symbol.replace(_WORD_STARTS, _GAP) for symbol in symbols[plain]]
    elif source.post_process == "none":
        symbols[plain] = [f"{symbol}{_GAP}" for symbol in symbols[plain]]
    if len(set(symbols)) < len(symbols):
        raise UnfitError(f"{source.path}: two symbols of its dictionary are the same")
    return {symbol: number for number, symbol in enumerate(symbols)}


def tokenizer_config(source: Source, vocabulary: dict[str, int]) -> dict[str, Any]:
    """What AutoTokenizer reads."""
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "pad_token": _NAMES[_BLANK],
        "bos_token": _NAMES[_BOS],
        "eos_token": _NAMES[_EOS],
        "unk_token": _NAMES[_UNKNOWN],
        "word_delimiter_token": "|" if "|" in vocabulary else None,
        "replace_word_delimiter_char": _GAP,
        "do_lower_case": False,
        "clean_up_tokenization_spaces": False,
    }


def _loaded(source: Source, folder: Path) -> Any:
    """What transformers' own classes say of rows."""
    with no_broken_torchaudio():
        import transformers

        kind: Any = getattr(transformers, _CLASSES[source.task])
        model, told = kind.from_pretrained(folder, output_loading_info=True)
    wrong = [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]
    if wrong:
        raise UnfitError(
            f"transformers and the export differ in {', '.join(map(str, wrong))[:300]}"
        )
    model.eval().double()

    def said(rows: Rows) -> dict[str, Tensor]:
        given = (rows.waveform.double(), (~rows.padding_mask).long())
        # Asked of the encoder itself: above one with pre-norm, the last hidden state that a model
        # with a head returns may be from before the last norm, depending on transformers.
        encoder = model if source.task == ENCODER else model.wav2vec2
        heard = encoder(*given, output_hidden_states=True)
        found = {**_layers(source, heard.hidden_states), "context": heard.last_hidden_state}
        return found if source.task == ENCODER else {**found, "logits": model(*given).logits}

    return said


@contextmanager
def no_broken_torchaudio() -> Iterator[None]:
    """Hide a torchaudio that does not load, as beside a torch without CUDA, from an import.

    fairseq requires torchaudio, so it is there; transformers imports it if it is.
    """
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            del sys.modules["torchaudio"]
    else:
        yield


def _layers(source: Source, states: Sequence[Tensor]) -> dict[str, Tensor]:
    """Transformers' last hidden state is the context, in pre-norm models after the last norm."""
    top = len(states) - 1 if source.held.config.layer_norm_first else len(states)
    return {f"layer {number}": state for number, state in enumerate(states[:top])}
