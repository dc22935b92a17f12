"""Fill the masked stretches of an utterance in with a checkpoint's frame objective.

For pictures; `mgf evaluate` and the quickstart call it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..acoustics.normalization import unit_variance
from ..acoustics.spectrum import mel_edges
from ..objectives.frame import FrameObjective
from ..objectives.infilling import fill_in
from .example import load_example
from .infilled import Infilling

_MASK_SEED = 1  # of all checkpoints, so that their pictures can be compared


def infill(checkpoint: Path | str, manifest: Path | str, seconds: float = 2.5) -> Infilling | None:
    """Mask the beginning of a manifest's longest utterance that can be read, and fill it in.

    The masks are as long and as many as in training, and are the same for all checkpoints that were
    trained with the same settings of masks.

    Returns:
        None where the checkpoint does not predict log-mel of masked frames, where nothing was
        masked, or nothing can be read.

    Raises:
        CheckpointError: it is not a pre-trained MGF.
        ValueError: so few seconds hold no frame.
    """
    example = load_example(checkpoint, manifest, FrameObjective, seconds)
    if example is None:
        return None
    model, rate = example.model, example.sample_rate
    model.mask_seed = _MASK_SEED
    target = unit_variance(torch.from_numpy(example.signal))
    found = fill_in(model, example.objective, example.heard, target)
    if found is None:
        return None
    edges = mel_edges(found.original.shape[1], rate)
    return Infilling(
        original=found.original.numpy(),
        filled=found.filled.numpy(),
        masked=found.masked.numpy(),
        frequencies=edges[1:-1].float().numpy(),
        frame_rate=rate / model.shape.hop_length,
    )
