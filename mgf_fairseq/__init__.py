"""MGF: self-supervised speech pre-training at several time scales, as a fairseq plugin.

``load_encoder`` reads the encoder of a checkpoint. With ``common.user_dir=$(mgf user-dir)`` fairseq
imports this package, which then registers its tasks, models and criterion. In a script of your
own, import ``mgf_fairseq.plugin`` for that; the package alone loads neither torch nor fairseq.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .extract.encoder import load_encoder as load_encoder

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "load_encoder":
        from .extract.encoder import load_encoder

        return load_encoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Otherwise fairseq advises every user on import to install tensorboardX.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

# fairseq imports this package for its plugin, and is loaded by then.
if "fairseq" in sys.modules:
    from . import plugin as plugin
