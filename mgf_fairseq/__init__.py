"""MGF: self-supervised speech pre-training at several time scales, as a fairseq plugin.

Importing the package registers task ``mgf_pretraining``, model ``mgf`` and criterion ``mgf`` with
fairseq, which is what ``common.user_dir=$(mgf user-dir)`` does in every process.
"""

import logging
import sys
from pathlib import Path

__version__ = "0.1.0"

# On import fairseq advises everybody to install tensorboardX.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

# fairseq and torch take seconds to import, and most verbs of the command need neither.
if Path(sys.argv[0]).name not in ("mgf", "mgf.exe"):
    from . import plugin as plugin
