"""The nearest of the known names to one that is not known, for messages.

Below everything: settings, checks before a start and the command's verbs and options ask here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW = 12  # names that are all listed


def _nearest(name: object, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`` (did you mean 'phoneme'?)``, or nothing where no known name is near."""
    near = _nearest(name, known)
    return "" if near is None else f" (did you mean {near!r}?)"


def near_or_all(name: object, known: Iterable[object]) -> str:
    """``did you mean phoneme?``; where no known name is near, all of a few, or how many."""
    names = sorted(map(str, known))
    if (near := _nearest(name, names)) is not None:
        return f"did you mean {near}?"
    return f"there are {', '.join(names)}" if len(names) <= _FEW else f"there are {len(names)}"
