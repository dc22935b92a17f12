"""`mgf user-dir`: print the folder of the installed package, for fairseq's `common.user_dir`.

Used inside command lines, so it prints the path and nothing else, and imports nothing heavy.
"""

from __future__ import annotations

import argparse

from ..utils.package import package_dir

HELP = "print the folder to give to fairseq as common.user_dir"
EXAMPLES = """\
example:
  fairseq-hydra-train ... common.user_dir=$(mgf user-dir)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes no options."""


def run(args: argparse.Namespace) -> int:
    """Print the package's folder and return 0."""
    folder = package_dir()
    print(folder)
    args.result = {"user_dir": folder}
    return 0
