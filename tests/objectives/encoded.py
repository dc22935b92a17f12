"""Small objectives, and random outputs of an encoder for them."""

from typing import Any

import torch

from mgf_fairseq.objectives import build_objectives
from mgf_fairseq.types import Batch, EncoderOutput, EncoderShape

SHAPE = EncoderShape(
    latent_dim=12,
    embed_dim=16,
    num_layers=2,
    hop_length=320,
    receptive_field=400,
    sample_rate=16000,
)
FAST: dict[str, dict[str, Any]] = {
    "sample": {"segment_frames": 8, "hidden_dim": 16},
    "frame": {"hidden_dim": 16},
    "phoneme": {"final_dim": 8, "num_negatives": 5},
    "utterance": {"final_dim": 8},
}


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return build_objectives({name: {**FAST[name], **changes}}, SHAPE)[name]


def encoded_batch(frames: tuple[int, ...] = (30, 30, 20, 20), masked: bool = True) -> tuple:
    """Random encoder outputs with gradient, and the batch they would come from."""
    torch.manual_seed(1)
    rows, width = len(frames), max(frames)
    samples = [400 + 320 * (n - 1) for n in frames]
    padding = torch.arange(width) >= torch.tensor(frames)[:, None]
    mask = torch.zeros(rows, width, dtype=torch.bool)
    if masked:
        mask[:, 3:9] = True
    latents = torch.randn(rows, width, 12, requires_grad=True)
    states = [torch.randn(rows, width, 16, requires_grad=True) for _ in range(3)]
    encoded = EncoderOutput(latents, states[-1], states, padding, torch.tensor(frames), mask)
    waveform = torch.randn(rows, max(samples))
    padding_mask = torch.arange(max(samples)) >= torch.tensor(samples)[:, None]
    batch = Batch(
        waveform.masked_fill(padding_mask, 0),
        padding_mask,
        torch.arange(rows) // 2,
        torch.arange(rows),
        draw=5,
    )
    return encoded, batch


def row_of(encoded: EncoderOutput, batch: Batch, row: int) -> tuple[EncoderOutput, Batch]:
    """Cut one row out and drop its padding."""
    n = int(encoded.num_frames[row])
    s = int((~batch.padding_mask[row]).sum())
    pick = slice(row, row + 1)
    states = [x[pick, :n] for x in encoded.hidden_states]
    one = EncoderOutput(
        encoded.latents[pick, :n],
        states[-1],
        states,
        encoded.padding_mask[pick, :n],
        encoded.num_frames[pick],
        encoded.mask_indices[pick, :n],
    )
    return one, Batch(
        batch.waveform[pick, :s],
        batch.padding_mask[pick, :s],
        batch.utterance[pick],
        batch.row_id[pick],
        batch.draw,
    )
