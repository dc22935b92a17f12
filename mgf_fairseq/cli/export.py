"""`mgf export`: a checkpoint as other frameworks load it.

mgf_fairseq/export does the work; this file reads options and prints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_user_dir, checkpoint_of, prepare_libraries

HELP = "convert a checkpoint for transformers, ONNX, TorchScript, s3prl, torchaudio or fairseq"
EXAMPLES = """\
examples:
  mgf export runs/mgf_small/all --to huggingface --dest exported/mgf
  mgf export runs/ctc --to onnx --dest exported/ctc --results runs/ctc/score.json

DEST has the model, README.md (a model card with an example that loads it) and mgf_export.json. It
appears when the export is complete and has been compared with the checkpoint; the table shows the
largest difference. An earlier export in DEST is replaced, anything else is not.
"""
FORMATS = ("huggingface", "onnx", "torchscript", "torch-export", "s3prl", "torchaudio", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf export`."""
    add = parser.add_argument
    add("checkpoint", metavar="CK", help="checkpoint file, or folder of its run")
    add("--to", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    add("--dest", type=Path, required=True, help="folder to write the export to")
    add(
        "--dict",
        type=Path,
        metavar="FILE",
        help="dict.*.txt of a fine-tuned model's labels (default: the checkpoint's own)",
    )
    add(
        "--results",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="folders of mgf evaluate, JSON files of mgf score: scores for the model card",
    )
    add_user_dir(add)


def run(args: argparse.Namespace) -> int:
    """Export, print the comparison, and return 0."""
    prepare_libraries(args)
    from ..export import export
    from ..export.card import parity_table

    found = export(checkpoint_of(args.checkpoint), args.to, args.dest, args.dict, args.results)
    print("largest difference from the checkpoint, padded frames not counted:\n")
    print(parity_table(found.parity))
    print(f"\n{found.dest}: {', '.join(found.files)}")
    print(f"next: {found.dest}/README.md shows how to load it")
    args.result = found
    return 0
