"""`mgf configs`: print the folder of the YAML files, for `fairseq-hydra-train --config-dir`.

Used inside command lines, so it prints the path and nothing else, and imports nothing heavy.
"""

from __future__ import annotations

import argparse

from ..utils.package import RECIPES, config_dir

HELP = "print the folder to give to fairseq-hydra-train as --config-dir"
EXAMPLES = """\
examples:
  fairseq-hydra-train --config-dir $(mgf configs) --config-name mgf_small ...
  fairseq-hydra-train --config-dir $(mgf configs finetune) --config-name ctc_all ...
  ls $(mgf configs)                               names of configurations and their groups

In a configuration of your own, name the same folder as pkg://mgf_fairseq.configs.pretrain in
hydra.searchpath.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one argument of `mgf configs`."""
    parser.add_argument(
        "kind",
        nargs="?",
        choices=RECIPES,
        default="pretrain",
        help="which configurations (default: pretrain)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the folder and return 0."""
    folder = config_dir(args.kind)
    print(folder)
    args.result = {"config_dir": folder}
    return 0
