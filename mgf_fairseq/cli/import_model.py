"""`mgf import`: a wav2vec 2.0 or HuBERT of transformers or fairseq as a checkpoint of ours.

mgf_fairseq/export/importing.py does the work; this file reads options and prints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make a checkpoint from a wav2vec 2.0 or HuBERT of transformers or fairseq"
EXAMPLES = """\
examples:
  mgf import wav2vec2-base --dest runs/wav2vec2-base       a folder with config.json
  mgf import hubert_base_ls960.pt --dest runs/hubert-base  a checkpoint of fairseq

DEST is then a run like those of pre-training: fine-tune it (model.w2v_path), or give it to the
other verbs. The encoder alone is imported: of a fine-tuned model the head (CTC or classes) is
skipped and named, so it is to be fine-tuned again before it recognizes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf import`."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="folder of transformers, or fairseq checkpoint")
    add("--dest", type=Path, required=True, help="folder to write the checkpoint to")


def run(args: argparse.Namespace) -> int:
    """Import, print what there is, and return 0."""
    from ..export.importing import FILE, import_model

    found = import_model(args.model, args.dest)
    if found.skipped:
        print(f"skipped: {', '.join(found.skipped)}; only the encoder is imported")
    for note in found.notes:
        print(f"note: {note}")
    print(
        f"{found.dest}/{FILE}: encoder of {found.kind}, {found.layers} layers of {found.width}, "
        f"{found.sample_rate} Hz, {'normalized' if found.normalize else 'raw'} input"
    )
    print(f"next: mgf extract --checkpoint {found.dest} --manifest MANIFEST --dest features")
    args.result = found
    return 0
