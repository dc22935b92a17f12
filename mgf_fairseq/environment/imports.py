"""Import a package that may be broken, and report what happened instead of raising.

`mgf info` and `mgf doctor` must run exactly where torch or fairseq cannot be imported.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

# What a broken package raises on import; a ValueError is fairseq 0.12.2 on Python 3.11.
FAILURES = (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError, SyntaxError)
# Parts of fairseq that are compiled. Trainings use the first; the second links to torch.
COMPILED = ("fairseq.data.data_utils_fast", "fairseq.libbase")


@dataclass(frozen=True)
class Imported:
    """A module, or the error of importing it."""

    module: Any
    error: str

    @property
    def works(self) -> bool:
        """Whether it was imported."""
        return self.module is not None


def attempt(name: str) -> Imported:
    """Import a module by name."""
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    try:
        return Imported(importlib.import_module(name), "")
    except FAILURES as error:
        return Imported(None, f"{type(error).__name__}: {' '.join(str(error).split())}")


def fairseq_build() -> dict[str, str]:
    """Each compiled part of fairseq -> its error; an empty one: it loads.

    The module torch is imported first: one of the parts is linked to its libraries.
    """
    attempt("torch")
    return {name: attempt(name).error for name in COMPILED}
