"""`mgf probe`: the earlier name of `mgf evaluate --checkpoint CK --tasks TASK`.

Takes the same options and hands over.
"""

from __future__ import annotations

import argparse
import sys

from . import evaluate
from .options import names

HELP = "earlier name of `mgf evaluate --checkpoint CK --tasks TASK`; the next version drops it"
EXAMPLES = """\
examples:
  mgf probe --task phone --upstream runs/mgf_small/all/checkpoint_last.pt --data data --dest results
is now
  mgf evaluate --tasks phone --checkpoint runs/mgf_small/all/checkpoint_last.pt --data data \\
      --dest results
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf evaluate`."""
    evaluate.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Say what the command is called now, run that, and return its exit code."""
    print(
        "mgf probe: note: this is mgf evaluate --checkpoint CK --tasks TASK now, with the same "
        "options; the next version drops the earlier name",
        file=sys.stderr,
    )
    tasks = names(args.tasks or "")
    if not tasks:
        raise ValueError("--tasks is empty: name what is classified, as in --tasks phone,speaker")
    if "asr" in tasks:
        raise ValueError("mgf probe has no task asr: use mgf evaluate --tasks asr")
    return evaluate.run(args)
