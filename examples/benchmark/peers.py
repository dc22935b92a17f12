"""The peers of the benchmark: fairseq's and transformers' wav2vec 2.0, in MGF's shape.

`systems.py` chooses among them by name; `README.md` says what is equal and what is not.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from setting import FINAL_DIM, NUM_NEGATIVES, Setting, System, synthetic_audio
from torch import Tensor

from mgf_fairseq.encoder.geometry import parse_conv_layers


def build_fairseq(setting: Setting, name: str = "fairseq") -> System:
    """Build fairseq's ``wav2vec2`` with its criterion, as ``wav2vec2_base_librispeech.yaml``."""
    from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    class Autocast(Wav2Vec2Model):  # type: ignore[misc]
        """The model as it is but for one cast, without which autocast cannot write mask_emb."""

        def apply_mask(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            return super().apply_mask(x.to(self.mask_emb.dtype), *args, **kwargs)

    values = {**setting.model_values(), "mask_prob": _matched_mask_prob(setting)}
    config = Wav2Vec2Config(
        **values,
        quantize_targets=True,
        final_dim=FINAL_DIM,
        num_negatives=NUM_NEGATIVES,
        latent_temp=(2.0, 0.5, 0.999995),
    )
    model = Autocast.build_model(config)
    criterion = Wav2vecCriterion(
        task=None,
        infonce=True,
        loss_weights=[0.1, 10],
        log_keys=["prob_perplexity", "code_perplexity", "temp"],
    )
    batches = synthetic_audio(setting)
    ids = torch.arange(setting.rows)
    frames, size = setting.num_frames * setting.rows, [0]

    def loss(number: int) -> Tensor:
        model.set_num_updates(number)
        sample = {"id": ids, "net_input": {"source": batches[number % len(batches)]}}
        value, size[0], _ = criterion(model, sample)
        return value / size[0]

    return System(name, model, loss, setting, lambda: size[0] / frames)


def _matched_mask_prob(setting: Setting, draws: int = 20) -> float:
    """Find the mask_prob with which fairseq masks as many frames as MGF.

    fairseq cuts every row of a batch to the fewest masked frames of any, so that its recipe's
    probability masks less, and so costs less, than it says.
    """
    import numpy as np
    from fairseq.data.data_utils import compute_mask_indices

    from mgf_fairseq.encoder.masking import SpanMask, draw_masks

    values = setting.encoder
    rows, frames = setting.rows, setting.num_frames
    spans = SpanMask(values.mask_prob, values.mask_length)
    drawn = [
        draw_masks(spans, [frames] * rows, frames, seed=1, update=update, rows=range(rows)).mean()
        for update in range(draws)
    ]
    state = np.random.get_state()
    np.random.seed(1)
    prob, share = values.mask_prob - 0.01, 0.0
    while share < np.mean(drawn) and prob < 2:
        prob += 0.01
        masks = (
            compute_mask_indices((rows, frames), None, prob, values.mask_length, min_masks=2)
            for _ in range(draws)
        )
        share = float(np.mean([mask.mean() for mask in masks]))
    np.random.set_state(state)
    return prob


def _hide_broken_torchaudio() -> None:
    """Keep transformers from a torchaudio whose wheel does not load beside CPU-only torch."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        sys.modules["torchaudio"] = None  # type: ignore[assignment]


def build_transformers(setting: Setting, name: str = "transformers") -> System:
    """Build ``Wav2Vec2ForPreTraining``; masks and negatives are made beforehand, in no step."""
    _hide_broken_torchaudio()
    from transformers import Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2 import modeling_wav2vec2 as modeling

    model = Wav2Vec2ForPreTraining(_transformers_config(setting))
    values, shape = setting.encoder, (setting.rows, setting.num_frames)
    inputs = []
    for audio in synthetic_audio(setting):
        mask = modeling._compute_mask_indices(shape, values.mask_prob, values.mask_length)
        negatives = modeling._sample_negative_indices(shape, NUM_NEGATIVES, mask)
        inputs.append(
            {
                "input_values": audio,
                "mask_time_indices": torch.from_numpy(mask).to(setting.device),
                "sampled_negative_indices": torch.from_numpy(negatives).to(setting.device),
            }
        )
    share = sum(float(i["mask_time_indices"].float().mean()) for i in inputs) / len(inputs)
    frames = share * shape[0] * shape[1]

    def loss(number: int) -> Tensor:
        value: Tensor = model(**inputs[number % len(inputs)]).loss / frames
        return value

    return System(name, model, loss, setting, lambda: share)


def _transformers_config(setting: Setting) -> Any:
    """Say the setting's encoder in the words of transformers."""
    from transformers import Wav2Vec2Config

    values = setting.encoder
    channels, kernels, strides = zip(*parse_conv_layers(values.conv_feature_layers), strict=True)
    return Wav2Vec2Config(
        hidden_size=values.encoder_embed_dim,
        num_hidden_layers=values.encoder_layers,
        num_attention_heads=values.encoder_attention_heads,
        intermediate_size=values.encoder_ffn_embed_dim,
        hidden_dropout=values.dropout,
        attention_dropout=values.attention_dropout,
        activation_dropout=values.activation_dropout,
        feat_proj_dropout=values.dropout_input,
        layerdrop=values.encoder_layerdrop,
        feat_extract_norm="layer" if setting.extractor_mode == "layer_norm" else "group",
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=values.conv_bias,
        num_conv_pos_embeddings=values.conv_pos,
        num_conv_pos_embedding_groups=values.conv_pos_groups,
        do_stable_layer_norm=values.layer_norm_first,
        feat_quantizer_dropout=0.0,
        num_negatives=NUM_NEGATIVES,
        codevector_dim=FINAL_DIM,
        proj_codevector_dim=FINAL_DIM,
    )


PEERS: dict[str, Callable[[Setting], System]] = {
    "fairseq": build_fairseq,
    "transformers": build_transformers,
}


def available_peers() -> list[str]:
    """Name the peers that are installed."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]
