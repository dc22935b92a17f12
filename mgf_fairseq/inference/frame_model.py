"""A fine-tuned fairseq model as waveforms in, one vector per frame out, at any length.

Below recognizer.py (log-probabilities of symbols) and classifier.py (vectors that are pooled);
waveform_model.py reads, normalizes and cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from ..checkpoints.files import CheckpointError
from ..encoder.geometry import ConvGeometry
from ..encoder.padding import padding_mask_of
from ..extract.waveform_model import WaveformModel

Outputs = Callable[[nn.Module, Tensor, Tensor], Tensor]


def build_with_weights(
    build: Callable[[], nn.Module], weights: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """Build a fairseq model and load its weights; returns it in evaluation mode.

    Raises:
        CheckpointError: weights and configuration of the checkpoint at `path` differ.
    """
    try:
        model = build()
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, AssertionError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path}: its weights and its configuration differ: {reason}"
        ) from None
    return model.eval()


class FrameModel(WaveformModel):
    """A model whose outputs, (B, T, D) for (source, padding_mask), are taken as hidden states."""

    def __init__(
        self,
        model: nn.Module,
        outputs: Outputs,
        geometry: ConvGeometry,
        width: int,
        sample_rate: int,
        normalize: bool,
        padding_invariant: bool,
    ) -> None:
        super().__init__(geometry, width, sample_rate, normalize)
        self.model, self.outputs = model, outputs
        self.one_by_one = not padding_invariant
        self.eval()

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalized -> one (B, T, D), and (B,) valid frames."""
        lengths = [len(row) for row in rows]
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of(lengths, source.shape[1], source.device)
        frames = [self.geometry.num_frames(length) for length in lengths]
        outputs = self.outputs(self.model, source, mask)
        return [outputs], source.new_tensor(frames).long()
