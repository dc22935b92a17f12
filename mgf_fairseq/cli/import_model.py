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
  mgf import wav2vec2-base-960h --head --dest runs/960h    a recognizer, for mgf transcribe

DEST is then a run like those of pre-training: fine-tune it (model.w2v_path), or give it to the
other verbs. Of a fine-tuned model the encoder alone is imported, and its head is named; with
--head (folders of transformers) DEST is a recognizer (CTC) or a classifier instead, as a run of
mgf finetune. fairseq's fine-tuned checkpoints need no import to transcribe or classify.
"""

# What is said of each kind of import, and what can be done with it.
_KINDS = {
    "encoder": ("encoder", "mgf extract --checkpoint {} --manifest MANIFEST --dest features"),
    "ctc": ("recognizer with {} symbols", "mgf transcribe {} FILE"),
    "classifier": ("classifier of {} classes", "mgf classify {} FILE"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf import`."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="folder of transformers, or fairseq checkpoint")
    add("--dest", type=Path, required=True, help="folder to write the checkpoint to")
    add(
        "--head",
        action="store_true",
        help="keep the head of a fine-tuned model: CTC, or classes of utterances",
    )


def run(args: argparse.Namespace) -> int:
    """Import, print what there is, and return 0."""
    from ..checkpoints.reading import LAST
    from ..export.importing import import_model

    found = import_model(args.model, args.dest, args.head)
    if found.skipped:
        print(f"skipped: {', '.join(found.skipped)}; only the encoder is imported")
    for note in found.notes:
        print(f"note: {note}")
    what, following = _KINDS[found.task]
    print(
        f"{found.dest}/{LAST}: {what.format(found.symbols)} of {found.kind}, {found.layers} layers "
        f"of {found.width}, {found.sample_rate} Hz, "
        f"{'normalized' if found.normalize else 'raw'} input"
    )
    print(f"next: {following.format(found.dest)}")
    args.result = found
    return 0
