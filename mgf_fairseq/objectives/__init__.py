"""The objectives, one file each; importing this package registers all of them.

A fifth is a new file here (or anywhere that is imported) with a class under
:func:`~mgf_fairseq.objectives.base.register_objective`; nothing else changes.
"""

from . import frame, phoneme, sample, utterance
from .base import (
    OBJECTIVES,
    Objective,
    ObjectiveConfig,
    build_objectives,
    register_objective,
)

__all__ = [
    "OBJECTIVES",
    "Objective",
    "ObjectiveConfig",
    "build_objectives",
    "frame",
    "phoneme",
    "register_objective",
    "sample",
    "utterance",
]
