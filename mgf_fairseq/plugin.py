"""Registers task, model and criterion with fairseq; importing it is all there is to do.

The package imports it, except in the command ``mgf``, whose verbs import it when they need it.
"""

from . import acoustic_model, baseline, criterion, model, task
from .compat import mend_host
from .host_checkpoints import guard_checkpoints

mend_host()
guard_checkpoints()

__all__ = ["acoustic_model", "baseline", "criterion", "model", "task"]
