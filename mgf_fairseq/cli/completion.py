"""`mgf completion`: a script with which bash or zsh completes verbs, options and file names.

The script is made once by shtab from the verbs' own parsers, so that no Python starts at a Tab.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from .options import VerbParser

HELP = "print a script with which bash or zsh completes this command"
EXAMPLES = """\
examples:
  mgf completion bash > ~/.local/share/bash-completion/completions/mgf
  mgf completion zsh > ~/.zfunc/_mgf              fpath must have ~/.zfunc, before compinit

Needs shtab: pip install shtab. Print the script again after an upgrade.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the one argument of `mgf completion`."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that reads the script")


def run(args: argparse.Namespace) -> int:
    """Print the script and return 0."""
    try:
        import shtab
    except ImportError as error:
        raise ValueError("mgf completion needs shtab: pip install shtab") from error
    script = shtab.complete(all_verbs(), args.shell)
    print(script)
    args.result = {"shell": args.shell, "script": script}
    return 0


def all_verbs() -> argparse.ArgumentParser:
    """One parser with each verb as a command of its own; `mgf` itself reads only the one called."""
    import shtab

    from . import VERBS

    parser = argparse.ArgumentParser(prog="mgf")
    parser.add_argument("--version", action="store_true", help="show the version")
    commands = parser.add_subparsers(parser_class=_Command)
    for verb, (name, line) in VERBS.items():
        module = importlib.import_module(f"{__package__}.{name}")
        command = commands.add_parser(verb, verb=verb, help=line)
        module.add_arguments(command)
        command.add_common()
        for action in command._actions:
            if action.nargs != 0 and action.choices is None and action.type in (None, Path):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


class _Command(VerbParser):
    """The parser of a verb as `add_subparsers` makes it; it knows its own name."""

    def __init__(self, *, verb: str, prog: str = "", **settings: Any) -> None:
        super().__init__(verb, **settings)
