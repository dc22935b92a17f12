"""MGF: self-supervised speech pre-training at several time scales, as a fairseq plugin.

Importing the package registers task ``mgf_pretraining``, model ``mgf`` and criterion ``mgf`` with
fairseq, which is what ``common.user_dir=$(mgf user-dir)`` does in every process.
"""

__version__ = "0.1.0"

from . import criterion, model, task

__all__ = ["__version__", "criterion", "model", "task"]
