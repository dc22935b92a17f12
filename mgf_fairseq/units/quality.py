"""How well discrete units follow phones: purities and mutual information of a table of counts.

Pure functions below make.py; they know neither features nor files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Quality:
    """The three measures of HuBERT (Hsu et al. 2021, section IV-E), and what they are of."""

    phone_purity: float  # share of frames whose phone is the most frequent one of their unit
    cluster_purity: float  # share of frames whose unit is the most frequent one of their phone
    pnmi: float  # I(phone; unit) / H(phone): the share of a phone's bits that the unit has
    frames: int  # that have a label
    phones: int  # that occur
    units: int  # that occur in frames with a label


def count_pairs(units: Counts, phones: Counts, num_units: int, num_phones: int) -> Counts:
    """Count frames of each unit and phone: two (N,) -> (units, phones)."""
    pairs = np.bincount(units * num_phones + phones, minlength=num_units * num_phones)
    return pairs.reshape(num_units, num_phones)


def quality(counts: Counts) -> Quality:
    """Measure a table of counts.

    Args:
        counts: (units, phones) frames.

    Raises:
        ValueError: it counts no frame.
    """
    total = int(counts.sum())
    if not total:
        raise ValueError("no frame has both a unit and a phone")
    joint = counts / total
    unit, phone = joint.sum(axis=1), joint.sum(axis=0)
    pnmi = _entropy(phone) + _entropy(unit) - _entropy(joint)
    return Quality(
        phone_purity=float(joint.max(axis=1).sum()),
        cluster_purity=float(joint.max(axis=0).sum()),
        # One phone has no bits to share, and each unit knows it.
        pnmi=float(pnmi / _entropy(phone)) if (phone > 0).sum() > 1 else 1.0,
        frames=total,
        phones=int((phone > 0).sum()),
        units=int((unit > 0).sum()),
    )


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    """In nats; what does not occur adds nothing."""
    held = shares[shares > 0]
    return float(-(held * np.log(held)).sum())
