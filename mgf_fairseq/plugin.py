"""Registers task, model and criterion with fairseq; importing it is all there is to do.

The package imports it, except in the command ``mgf``, whose verbs import it when they need it.
"""

from . import criterion, model, task
from .baselines import acoustic_model, wav2vec2
from .host.checkpointing import guard_checkpoints
from .host.launcher import take_over_launch
from .host.patches import mend_host

mend_host()
guard_checkpoints()
take_over_launch()

__all__ = ["acoustic_model", "criterion", "model", "task", "wav2vec2"]
