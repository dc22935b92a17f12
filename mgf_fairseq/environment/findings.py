"""What a check of the environment returns. `mgf doctor` prints these one by one.

A problem stops something; a note is worth knowing, and stops nothing by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is (`ok`, `note`, `problem`), and the fix where there is one."""

    what: str
    state: str
    text: str
    fix: str = ""


def ok(what: str, text: str) -> Finding:
    """Nothing to fix."""
    return Finding(what, OK, text)


def note(what: str, text: str, fix: str) -> Finding:
    """Worth knowing."""
    return Finding(what, NOTE, text, fix)


def problem(what: str, text: str, fix: str) -> Finding:
    """Stops something until it is fixed."""
    return Finding(what, PROBLEM, text, fix)
