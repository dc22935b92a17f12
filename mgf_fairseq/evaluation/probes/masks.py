"""Frames with the spectra that a mask is learned from, and the loss of a mask.

Beside examples.py, for the enhancement protocol; trainer.py learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..enhancement.spectra import Spectra
from .trainer import Index, Learned

_MOST_OUTPUTS = 2**26  # numbers held while losses are measured


@dataclass(frozen=True)
class Encoded:
    """A mixture as an upstream hears it."""

    features: npt.NDArray[np.floating]  # (L, T, D)
    spectra: Spectra


@dataclass(frozen=True)
class MaskExamples:
    """Frames of mixtures, in memory."""

    vectors: npt.NDArray[np.floating]  # (L, N, D)
    labels: npt.NDArray[np.float32]  # (N, 2, F) magnitudes: of the mixture, and wanted

    @property
    def shape(self) -> tuple[int, int]:
        """L layers of width D."""
        return self.vectors.shape[0], self.vectors.shape[2]

    def gather(self, index: Index) -> npt.NDArray[np.floating]:
        """(L, n, D) of the frames at `index`."""
        return self.vectors[:, index]


def mask_examples(heard: Sequence[Encoded]) -> MaskExamples:
    """Join the frames of mixtures."""
    magnitudes = [
        np.stack([part.spectra.magnitude.cpu().numpy(), part.spectra.wanted.cpu().numpy()], axis=1)
        for part in heard
    ]
    vectors = np.concatenate([part.features for part in heard], axis=1)
    return MaskExamples(vectors, np.concatenate(magnitudes))


def mask_of(outputs: Tensor) -> Tensor:
    """Outputs of a probe -> masks between 0 and 1, of the same shape."""
    return outputs.sigmoid()


def mask_losses(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared error of masked magnitudes, summed over bins.

    Outputs (S, R, B, F), labels (S, B, 2, F) -> (S, R, B).
    """
    mixture, wanted = labels[:, None].unbind(dim=-2)  # (S, 1, B, F) each
    return (mask_of(outputs) * mixture - wanted).square().sum(dim=-1)


def learned_masks(seeds: int, representations: int, num_bins: int) -> Learned:
    """What the trainer is given: the loss, and how many frames fit into memory."""
    return Learned(mask_losses, max(_MOST_OUTPUTS // (seeds * representations * num_bins), 1))


def fixed_mask(examples: MaskExamples) -> npt.NDArray[np.float32]:
    """(F,) the one mask for all frames with the least loss: what is known without features."""
    mixture, wanted = examples.labels[:, 0], examples.labels[:, 1]
    energy = np.square(mixture, dtype=np.float64).sum(axis=0)
    product = (mixture.astype(np.float64) * wanted).sum(axis=0)
    share = np.divide(product, energy, out=np.zeros_like(product), where=energy > 0)
    return np.asarray(np.clip(share, 0, 1), np.float32)
