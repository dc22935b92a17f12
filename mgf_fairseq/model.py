"""Model ``mgf``: the speech encoder with its objectives, and the contract with fine-tuning.

Wires :class:`~mgf_fairseq.encoder.speech_encoder.SpeechEncoder` to the objectives for pre-training;
after ``remove_pretraining_modules`` it is what fairseq's ``wav2vec_ctc`` and its relatives hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from omegaconf import II, OmegaConf
from torch import Tensor, nn

from .acoustics.normalization import unit_variance_rows
from .encoder.build import build_parts
from .encoder.config import EncoderConfig
from .encoder.depth import mark_depths
from .encoder.speech_encoder import EncoderParts, SpeechEncoder
from .objectives import build_objectives
from .objectives.gradient_balance import view_apart
from .types import Batch, EncoderOutput, EncoderShape, HostRows, ObjectiveOutput
from .utils.transfer import from_bits


@dataclass
class MgfConfig(EncoderConfig, FairseqDataclass):
    """The encoder's fields at the top level, as fine-tuning overrides them, and the objectives."""

    # None, not {}: from a checkpoint fairseq removes what a default mapping does not hold.
    objectives: Any = field(
        default=None,
        metadata={"help": "objective name -> its settings; what is not named is not built"},
    )
    init_from: str | None = field(
        default=None,
        metadata={
            "help": "begin with the encoder of this checkpoint (ours, or fairseq's wav2vec 2.0, "
            "HuBERT or data2vec), run or folder of transformers; read only before the first update"
        },
    )
    sample_rate: int = II("task.sample_rate")
    seed: int = II("common.seed")


@dataclass(frozen=True)
class PretrainingOutput:
    """What the criterion receives from one forward pass."""

    objectives: dict[str, ObjectiveOutput]
    encoded: EncoderOutput
    views: dict[str, EncoderOutput]  # part of an objective -> the levels as it read them


@register_model("mgf", dataclass=MgfConfig)
class MgfModel(SpeechEncoder, BaseFairseqModel):
    """The encoder under fairseq's ``wav2vec2`` parameter names, plus ``objectives.<name>.*``."""

    def __init__(self, cfg: MgfConfig) -> None:
        super().__init__(self.encoder_parts(cfg))
        self.cfg = cfg
        self.mask_seed = cfg.seed
        self.normalized = True  # rows come at unit variance; the task sets it
        self.shape = EncoderShape(
            latent_dim=self.latent_dim,
            embed_dim=cfg.encoder_embed_dim,
            num_layers=cfg.encoder_layers,
            hop_length=self.geometry.hop_length,
            receptive_field=self.geometry.receptive_field,
            sample_rate=cfg.sample_rate,
        )
        mapping = cfg.objectives
        if OmegaConf.is_config(mapping):
            mapping = OmegaConf.to_container(mapping, resolve=True)
        self.objectives: nn.ModuleDict | None = build_objectives(mapping or {}, self.shape)

    @staticmethod
    def encoder_parts(cfg: Any) -> EncoderParts:
        """Build the encoder's parts; a model with another front end overrides this."""
        return build_parts(cfg)

    @classmethod
    def build_model(cls, cfg: MgfConfig, task: Any = None) -> MgfModel:
        """Build the model as fairseq asks for it."""
        return cls(cfg)

    def set_num_updates(self, num_updates: int) -> None:
        """Take the update count, which decides the next masks and random choices."""
        super().set_num_updates(num_updates)
        self.mask_update = num_updates

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor,
        utterance: Tensor,
        row_id: Tensor,
        rows: HostRows | None = None,
        clean: Tensor | None = None,
    ) -> PretrainingOutput:
        """Encode with masks and run every objective.

        Args:
            source: (B, S) waveform, floating, or as ``utils.transfer.as_bits`` makes it.
            padding_mask: (B, S) bool, True = padding.
            utterance: (B,) int64, equal for views of one utterance; negative rows do not count
                for the utterance objective.
            row_id: (B,) int64, what random choices depend on.
            rows: what the host knows of the same; None: the device is asked.
            clean: as ``source``, what targets are made of where it is not what is heard
                (``task.augment``).
        """
        # Validation draws the same masks every time, so that its curves can be compared.
        update = self.mask_update if self.training else 0
        heard = from_bits(source)
        aimed_at = heard if clean is None else from_bits(clean)
        normalized = aimed_at if self.normalized else unit_variance_rows(aimed_at, padding_mask)
        batch = Batch(
            waveform=normalized.detach(),  # targets have no gradient
            padding_mask=padding_mask,
            utterance=utterance,
            row_id=row_id,
            draw=(self.mask_seed << 32) + update,
            rows=rows,
        )
        encoded, _ = self.encode(
            heard,
            padding_mask,
            mask=True,
            row_id=row_id if rows is None else rows.row_id,
            update=update,
            num_samples=None if rows is None else rows.num_samples,
        )
        return self._run_objectives(encoded, batch)

    def _run_objectives(self, encoded: EncoderOutput, batch: Batch) -> PretrainingOutput:
        """Run each objective on a view of its own, at which its gradient can be measured."""
        objectives: Any = self.objectives or {}
        outputs: dict[str, ObjectiveOutput] = {}
        views: dict[str, EncoderOutput] = {}
        for name, objective in objectives.items():
            seen = encoded
            if self.training and torch.is_grad_enabled():
                own = {part: view_apart(encoded) for part in objective.part_names}
                seen = replace(own[objective.part_names[0]], views=own)
                views |= own
            outputs[name] = objective(seen, batch)
        return PretrainingOutput(outputs, encoded, views)

    def extract_features(
        self,
        source: Tensor,
        padding_mask: Tensor | None,
        mask: bool = False,
        layer: int | None = None,
    ) -> dict[str, Any]:
        """Encode for fairseq's fine-tuning models (``wav2vec2_asr.Wav2VecEncoder.forward``).

        Args:
            source: (B, S) waveform.
            padding_mask: (B, S) bool, True = padding, or None.
            mask: mask spans, as in pre-training.
            layer: return this layer's output as ``x``, counted from 0 as in fairseq's
                ``Wav2Vec2Model.extract_features``; None for the top.

        Returns:
            ``x`` (B, T, D); ``padding_mask`` (B, T) bool or None where nothing is padded;
            ``features`` (B, T, C); ``layer_results``, L tuples of (T, B, D) output, None and
            (T, B, D) feed-forward output.
        """
        encoded, ffn = self.encode(source, padding_mask, mask=mask)
        layer_results = [
            (x.transpose(0, 1), None, z.transpose(0, 1))  # (B, T, D) -> (T, B, D)
            for x, z in zip(encoded.hidden_states[1:], ffn, strict=True)
        ]
        padded = padding_mask is not None and bool(padding_mask.any())
        return {
            "x": encoded.context if layer is None else encoded.hidden_states[layer + 1],
            "padding_mask": encoded.padding_mask if padded else None,
            "features": encoded.latents,
            "layer_results": layer_results,
        }

    def remove_pretraining_modules(self) -> None:
        """Remove what fine-tuning does not use; ``mask_emb`` stays, since fine-tuning masks too.

        None, not ``del``: a child that is None lets ``objectives.*`` in a checkpoint pass a
        strict load, which is what fairseq's fine-tuning models ask for. What is left is marked by
        its depth, for the optimizer ``adam_layer_decay``.
        """
        self.objectives = None
        mark_depths(self)
