"""Features of an ``apc`` checkpoint (baselines/apc.py): what each GRU says of each frame.

upstream.py chooses between this, encoders and acoustic features.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor, nn

from ..baselines.apc import ApcConfig, ApcModel
from ..checkpoints.encoder import EncoderCheckpoint
from ..checkpoints.files import CheckpointError, interpreting
from ..encoder.padding import padding_mask_of
from .waveform_model import WaveformModel


class LoadedApc(WaveformModel):
    """An APC with the sample rate and the normalization that it was trained with."""

    def __init__(self, model: ApcModel, sample_rate: int, normalize: bool) -> None:
        super().__init__(model.geometry, model.width, sample_rate, normalize)
        self.apc = model
        self.eval()

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalized -> L hidden states, (B, T, D) each, and (B,) valid frames."""
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], source.device)
        _, states, valid = self.apc.encode(source, mask)
        return states, valid.sum(dim=1)


def build_apc(held: EncoderCheckpoint, path: str | Path) -> LoadedApc:
    """Build the APC that ``read_encoder`` found in the file at ``path``.

    Raises:
        CheckpointError: configuration and weights differ.
    """
    layers, width = held.config.encoder_layers, held.config.encoder_embed_dim
    # Compared before it is built, which may take any time and memory.
    found = [tuple(w.shape) for name, w in held.weights.items() if name.endswith(".weight_hh_l0")]
    if found != [(3 * width, width)] * len(found) or len(found) != layers:
        raise CheckpointError(
            f"{path}: not of this form: {layers} GRUs of {width} by its configuration, but weights "
            f"of {found[:5]}"
        )
    with interpreting(path):
        settings = dataclasses.asdict(held.config)
        model = ApcModel(ApcConfig(**settings, sample_rate=held.sample_rate))
    try:
        model.load_state_dict(held.weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: not of this form: {reason}") from None
    return LoadedApc(model, held.sample_rate, held.normalize)
