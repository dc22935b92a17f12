"""Hidden states of every layer from any checkpoint with an MGF, wav2vec 2.0 or HuBERT encoder.

``load_encoder(path)(waveforms)`` is all there is: arrays, tensors or paths of audio files.
upstream.py puts baselines beside it, store.py writes what it says to disk.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..checkpoints.encoder import EncoderCheckpoint, read_encoder
from ..checkpoints.files import CheckpointError, interpreting
from ..checkpoints.reading import (
    require_fit,
)
from ..encoder import build
from ..encoder.padding import padding_mask_of
from ..encoder.speech_encoder import SpeechEncoder
from .waveform_model import Features as Features
from .waveform_model import WaveformModel


class LoadedEncoder(WaveformModel):
    """An encoder with the sample rate and the normalization that it was trained with."""

    def __init__(self, encoder: SpeechEncoder, sample_rate: int, normalize: bool) -> None:
        super().__init__(encoder.geometry, encoder.mask_emb.numel(), sample_rate, normalize)
        self.encoder = encoder
        norms = encoder.feature_extractor.modules()
        self.one_by_one = any(isinstance(module, nn.GroupNorm) for module in norms)
        self.eval()

    def encode_rows(self, rows: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """B of (S,), normalized -> L + 1 hidden states, (B, T, D) each, and (B,) valid frames."""
        source = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # B x (S,) -> (B, S)
        mask = padding_mask_of([len(row) for row in rows], source.shape[1], source.device)
        encoded, _ = self.encoder.encode(source, mask)
        return encoded.hidden_states, encoded.num_frames


def load_encoder(path: str | Path) -> LoadedEncoder:
    """Load the encoder of a checkpoint, without running code from it.

    Takes MGF's and fairseq's wav2vec 2.0 and HuBERT checkpoints, pre-trained or fine-tuned with
    fairseq's ``*_ctc``, ``*_seq2seq`` or ``wav2vec_classification``. Of a run's folder it takes the
    last checkpoint of a pre-training, the best of a fine-tuning.

    Raises:
        CheckpointError: the file is missing, unsafe to load, or of another kind.
    """
    return build_encoder(read_encoder(path), path)


def build_encoder(held: EncoderCheckpoint, path: str | Path) -> LoadedEncoder:
    """Build the encoder that ``read_encoder`` found in the file at ``path``.

    Raises:
        CheckpointError: configuration and weights differ.
    """
    with interpreting(path):
        require_fit(held.config, held.weights, path)
        encoder = build.build_encoder(held.config)
    try:
        encoder.load_state_dict(held.weights, strict=True)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path}: its encoder is not of this form: {reason}") from None
    return LoadedEncoder(encoder, held.sample_rate, held.normalize)
