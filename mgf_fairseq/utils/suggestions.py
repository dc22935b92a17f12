"""The nearest of the known names to one that is not known, for messages.

Below everything: the objectives' settings and the command's verbs and options ask here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`` (did you mean 'phoneme'?)``, or nothing where no known name is near."""
    nearest = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
