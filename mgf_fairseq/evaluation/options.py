"""The options of the probed tasks, with the checks of their values.

The verbs fill them in; the protocols read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..extract.store import DTYPES
from .labeled import ProbeError

_CLAIMS = ("speakers", "utterances")


@dataclass(frozen=True)
class ProbeOptions:
    """What a person may choose; bad values raise ProbeError by name."""

    seeds: tuple[int, ...] = (1, 2, 3)  # of the probes
    layers: tuple[str, ...] | None = None  # None: all
    hidden: int = 0  # width of a hidden layer; 0: exactly one Linear
    device: str = "cpu"
    test_split: str | None = None  # None: the task's own
    disjoint: str = "speakers"  # phone: what train, valid and test must not share
    silence: tuple[str, ...] = ("SIL",)  # phone: classes that the second accuracy leaves out
    ignore: tuple[str, ...] = ("SPN",)  # phone: labels that nothing is learned from or scored on
    segment_seconds: float = 1.0  # speaker
    max_epochs: int | None = None  # phone, speaker; None: the task's own
    dtype: str = DTYPES[0]  # of the features between encoder and probe

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ProbeError(f"seeds={self.seeds}: give different whole numbers from 0")
        if self.hidden < 0:
            raise ProbeError(f"hidden={self.hidden}: must be 0 (one Linear) or a width")
        if self.disjoint not in _CLAIMS:
            raise ProbeError(f"disjoint={self.disjoint!r}: choose from {', '.join(_CLAIMS)}")
        if not 0 < self.segment_seconds < math.inf:
            raise ProbeError(f"segment_seconds={self.segment_seconds}: must be seconds above 0")
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ProbeError(f"max_epochs={self.max_epochs}: must be at least 1")
        if self.dtype not in DTYPES:
            raise ProbeError(f"dtype={self.dtype!r}: choose from {', '.join(DTYPES)}")

    @property
    def probe_name(self) -> str:
        """How tables and protocols call the probe."""
        return f"one hidden layer of {self.hidden}" if self.hidden else "exactly one Linear"

    @property
    def stored(self) -> dict[str, str]:
        """The protocol's entry on how features are kept; that of the default goes unsaid."""
        return {} if self.dtype == DTYPES[0] else {"stored": f"features are kept as {self.dtype}"}
