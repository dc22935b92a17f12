"""The systems that the benchmark compares, each built from the same shape, batch and optimizer.

`pretraining.py` times them and `parts.py` profiles MGF; sizes and objectives are read from
`mgf_fairseq/configs/pretrain`, so that what is measured is what the recipes train.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mgf_fairseq.types import HostRows
from mgf_fairseq.utils.package import config_dir
from mgf_fairseq.utils.transfer import as_bits

CONFIG = config_dir("pretrain")
SAMPLE_RATE = 16_000
SCALES = ("sample", "frame", "phoneme", "utterance")
NUM_NEGATIVES, FINAL_DIM = 100, 256  # of wav2vec 2.0 Base, and MGF's defaults
CLIP_NORM = 10.0
# Set alike in every system: skipped layers would be noise, and transformers has no gradient scale.
ALIKE = {"encoder_layerdrop": 0.0, "feature_grad_mult": 1.0}


@dataclass(frozen=True)
class Setting:
    """What every system of one run shares."""

    shape: str = "small"  # small or base: mgf_fairseq/configs/pretrain/size
    device: str = "cpu"
    precision: str = "fp32"  # or bf16 autocast over fp32 weights
    seconds: float = 3.0
    rows: int = 16  # of which MGF sees two views of each of rows / 2 utterances
    extractor_mode: str = "layer_norm"  # or default: group norm after the first convolution
    num_batches: int = 4  # made once and used in turn

    def model_values(self) -> dict[str, Any]:
        """Read the encoder's shape and dropouts from the recipe."""
        size = OmegaConf.to_container(OmegaConf.load(CONFIG / "size" / f"{self.shape}.yaml"))
        assert isinstance(size, dict)
        return {**size["model"], **ALIKE, "extractor_mode": self.extractor_mode}

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio per step."""
        return self.rows * self.seconds


@dataclass
class System:
    """A model with its optimizer; ``loss`` maps a step's number to the mean loss."""

    name: str
    model: nn.Module
    loss: Callable[[int], Tensor]
    setting: Setting
    masked_frames: Callable[[], float]  # share of the frames that the last step masked

    def __post_init__(self) -> None:
        self.model.to(self.setting.device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, betas=(0.9, 0.98))

    @property
    def num_parameters(self) -> int:
        """Count all parameters, heads included."""
        return sum(p.numel() for p in self.model.parameters())

    def step(self, number: int) -> float:
        """Forward, backward, clip, update; returns the loss, which waits for the device."""
        bf16 = self.setting.precision == "bf16"
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.setting.device, torch.bfloat16, enabled=bf16):
            loss = self.loss(number)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizer.step()
        return float(loss.detach())


def synthetic_audio(setting: Setting, seed: int = 1) -> list[Tensor]:
    """Make batches of (B, S) fp32 noise with a speech-like envelope, unit variance per row."""
    generator = torch.Generator().manual_seed(seed)
    num_samples = round(setting.seconds * SAMPLE_RATE)
    time = torch.arange(num_samples) / SAMPLE_RATE
    batches = []
    for _ in range(setting.num_batches):
        rate = 2 + 3 * torch.rand(setting.rows, 1, generator=generator)
        envelope = 0.55 + 0.45 * torch.sin(2 * torch.pi * rate * time)
        noise = torch.randn(setting.rows, num_samples, generator=generator)
        pitch = 90 + 130 * torch.rand(setting.rows, 1, generator=generator)
        buzz = sum(torch.sin(2 * torch.pi * k * pitch * time) / k for k in range(1, 9))
        waveform = envelope * (buzz + 0.1 * noise)
        batches.append(nn.functional.layer_norm(waveform, (num_samples,)).to(setting.device))
    return batches


def build_mgf(setting: Setting, objectives: tuple[str, ...] = SCALES, name: str = "mgf") -> System:
    """Build MGF with the named objectives, run through its own criterion."""
    from mgf_fairseq.criterion import MgfCriterion, MgfCriterionConfig
    from mgf_fairseq.data.config import MgfPretrainingConfig
    from mgf_fairseq.model import MgfConfig
    from mgf_fairseq.task import MgfPretrainingTask

    recipe = OmegaConf.merge(
        *(OmegaConf.load(CONFIG / "objective" / f"{objective}.yaml") for objective in objectives)
    )
    parts: dict[str, Any] = OmegaConf.to_container(recipe)  # type: ignore[assignment]
    task = MgfPretrainingTask.setup_task(MgfPretrainingConfig(data="none", seed=1))
    config = MgfConfig(**setting.model_values(), sample_rate=SAMPLE_RATE, seed=1, **parts["model"])
    model = task.build_model(OmegaConf.create({**dataclasses.asdict(config), "_name": "mgf"}))
    shares = parts["criterion"]["gradient_shares"]
    criterion = MgfCriterion(
        MgfCriterionConfig(gradient_shares=shares, sample_rate=SAMPLE_RATE), task
    )
    samples = [_mgf_sample(audio) for audio in synthetic_audio(setting)]
    share = [0.0]
    model.register_forward_hook(
        lambda *args: share.__setitem__(0, float(args[-1].encoded.mask_indices.float().mean()))
    )

    def loss(number: int) -> Tensor:
        criterion.finish_update()  # of the one before, as the task does
        model.set_num_updates(number)
        value, _, _ = criterion(model, samples[number % len(samples)])
        return value

    return System(name, model, loss, setting, lambda: share[0])


def _mgf_sample(audio: Tensor) -> dict[str, Any]:
    """Lay out (B, S) audio as the collater does: two views per utterance, lengths on the host."""
    rows, length = audio.shape
    row_id = torch.arange(len(audio), device=audio.device)
    return {
        "net_input": {
            "source": as_bits(audio),
            "padding_mask": torch.zeros_like(audio, dtype=torch.bool),
            "utterance": row_id // 2,
            "row_id": row_id,
            "rows": HostRows((length,) * rows, tuple(range(rows)), tuple(range(rows))),
        },
        "num_skipped": 0,
    }


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
    frames, size = _num_frames(setting) * setting.rows, [0]

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

    from mgf_fairseq.encoder.config import EncoderConfig
    from mgf_fairseq.encoder.masking import SpanMask, draw_masks

    values = EncoderConfig(**setting.model_values())
    rows, frames = setting.rows, _num_frames(setting)
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
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2 import modeling_wav2vec2 as modeling

    from mgf_fairseq.encoder.config import EncoderConfig
    from mgf_fairseq.encoder.geometry import parse_conv_layers

    values = EncoderConfig(**setting.model_values())
    channels, kernels, strides = zip(*parse_conv_layers(values.conv_feature_layers), strict=True)
    config = Wav2Vec2Config(
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
    model = Wav2Vec2ForPreTraining(config)
    shape = (setting.rows, _num_frames(setting))
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


def _num_frames(setting: Setting) -> int:
    """Frames per row."""
    from mgf_fairseq.encoder.config import EncoderConfig
    from mgf_fairseq.encoder.geometry import ConvGeometry, parse_conv_layers

    layers = parse_conv_layers(EncoderConfig(**setting.model_values()).conv_feature_layers)
    return ConvGeometry.of(layers).num_frames(round(setting.seconds * SAMPLE_RATE))


def without(objective: str) -> str:
    """Name MGF without one objective."""
    return f"mgf without {objective}"


PEERS: dict[str, Callable[[Setting], System]] = {
    "fairseq": build_fairseq,
    "transformers": build_transformers,
}


def available_peers() -> list[str]:
    """Name the peers that are installed."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]


def build(name: str, setting: Setting) -> System:
    """Build a system by name, from the same random state."""
    torch.manual_seed(1)
    if name in PEERS:
        return PEERS[name](setting)
    if name == "mgf phoneme only":
        return build_mgf(setting, ("phoneme",), name)
    kept = tuple(scale for scale in SCALES if name != without(scale))
    return build_mgf(setting, kept, name)
