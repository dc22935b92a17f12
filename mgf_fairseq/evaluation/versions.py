"""Which protocol of each task the code follows: part of a result's protocol, and so of its key.

A result of another version is measured anew instead of being skipped as one that stands.
"""

from __future__ import annotations

from .results import RECOGNITION

# Raise a task's number by hand when a change of the code changes what it measures beyond rounding,
# where none of the protocol's own words and numbers tells so.
VERSIONS = {"phone": 1, "speaker": 1, "emotion": 2, RECOGNITION: 2}


def version_of(task: str) -> dict[str, int]:
    """The protocol's entry; version 1, of before there were any, goes unsaid and keeps its keys."""
    version = VERSIONS.get(task, 1)
    return {"version": version} if version > 1 else {}
