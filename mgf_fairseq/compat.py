"""Two mends of the installed fairseq that its own fine-tuning tasks need on today's torch.

The package calls `mend_host` once on import, so every process with `common.user_dir` has them.
"""

from __future__ import annotations

import torch
from fairseq.data import Dictionary

IGNORED_INDEX = -100  # torch.nn.functional.nll_loss, ignore_index


def mend_host() -> None:
    """Apply both mends; a second call changes nothing.

    1. A fine-tuning checkpoint holds its `Dictionary` (task_state.target_dictionary), which
       torch >= 2.6 refuses to load, so a fine-tuning run could not be resumed. The class is
       plain data: it is put on torch's list of safe classes.
    2. `audio_classification` loads its dictionary without special symbols and then asks it for
       pad and eos, which do not exist: fairseq stops with AttributeError. Such a dictionary now
       answers with an index that losses ignore; dictionaries with special symbols keep their own.
    """
    torch.serialization.add_safe_globals([Dictionary])
    for name in ("pad_index", "eos_index"):
        if not hasattr(Dictionary, name):
            setattr(Dictionary, name, IGNORED_INDEX)
