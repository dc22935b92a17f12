"""Bootstrap intervals over independent units: speakers where they are known, else utterances.

Utterances of one speaker resemble each other, so an interval over utterances would be too narrow.
Used by ``mgf score``, the evaluations and the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Units:
    """What is drawn with replacement."""

    of_utterance: Index  # (U,) the unit that each utterance belongs to, numbered from 0
    words: str  # "4 speakers", "60 utterances (speakers unknown)"


def units_of(speakers: Sequence[str] | None, utterances: int) -> Units:
    """Group utterances by speaker; each is a unit of its own where that is not possible.

    Args:
        speakers: one per utterance; None where they are not known.
        utterances: how many there are.
    """
    each = np.arange(utterances)
    if speakers is None or not all(speakers):
        return Units(each, f"{utterances} utterances (speakers unknown)")
    names, numbers = np.unique(np.asarray(speakers, dtype=np.str_), return_inverse=True)
    if len(names) == 1:
        return Units(each, f"{utterances} utterances of one speaker")
    if len(names) == utterances:
        return Units(each, f"{utterances} utterances, one per speaker")
    return Units(numbers.astype(np.int64), f"{len(names)} speakers")


def bootstrap_interval(
    statistic: Callable[[Index], Floats], units: int, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over units drawn with replacement.

    Args:
        statistic: takes how often each unit is drawn in each resample, (R, U), and returns one
            value per resample, or fewer where a resample has no value.
        units: how many there are, U.
        resamples: R.
        seed: of the draws.

    Returns:
        low and high; NaN where no resample has a value.
    """
    rng = np.random.default_rng(seed)
    values = statistic(rng.multinomial(units, np.full(units, 1 / units), resamples))
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
