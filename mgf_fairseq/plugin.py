"""Registers task, model and criterion with fairseq; importing it is all there is to do.

The package imports it, except in the command ``mgf``, whose verbs import it when they need it.
"""

from . import acoustic_model, baseline, criterion, model, task
from .compat import mend_host
from .host_checkpoints import guard_checkpoints
from .launching import take_over_launch

mend_host()
guard_checkpoints()
take_over_launch()

__all__ = ["acoustic_model", "baseline", "criterion", "model", "task"]
