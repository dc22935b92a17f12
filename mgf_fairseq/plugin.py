"""Registers task, model and criterion with fairseq, and patches it (host/patches.py).

Importing it does both. Under fairseq the package imports it; nothing else patches fairseq.
"""

from . import criterion, model, task
from .baselines import acoustic_model, apc, hubert, wav2vec2
from .host import layer_decay
from .host.patches import apply_patches

apply_patches()

__all__ = [
    "acoustic_model",
    "apc",
    "criterion",
    "hubert",
    "layer_decay",
    "model",
    "task",
    "wav2vec2",
]
