"""`mgf doctor`: find what is broken in an environment, and name the fix."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from .options import add_user_dir, quiet_libraries

HELP = "find what is broken in this environment, and name the fix"
EXAMPLES = """\
examples:
  mgf doctor                     exit code 1 if something is broken
  mgf doctor --user-dir flux     also: can fairseq import this package of mine

`mgf info` lists versions and devices.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mgf doctor`."""
    add_user_dir(parser.add_argument)


def run(args: argparse.Namespace) -> int:
    """Print each finding; return 1 if one is a problem."""
    quiet_libraries()
    from ..environment.doctor import examine
    from ..environment.findings import OK, PROBLEM

    findings = []
    for finding in examine(Path.cwd(), args.user_dir):
        print(f"{finding.state:<8} {finding.what:<16} {finding.text}", flush=True)
        if finding.state != OK:
            fix = f"fix: {finding.fix}"
            print(textwrap.indent(fix, " " * 26), flush=True)
        findings.append(finding)
    problems = [finding for finding in findings if finding.state == PROBLEM]
    print(f"{len(problems)} problem(s)" if problems else "nothing is broken")
    args.result = {"findings": findings}
    return 1 if problems else 0
