"""How a part of the host is replaced, once, and put back; patches.py lists which parts.

Replacing is idempotent, and each replacement remembers what was there before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Undo = Callable[[], None]
_ABSENT = object()


@dataclass(frozen=True)
class Patch:
    """One name of the host that is replaced."""

    name: str  # "package.module:attribute", or "package.module:Class.attribute"
    reason: str  # what goes wrong without it
    until: str  # when it can be removed
    put: Callable[[], Undo | None]  # replaces the part; None while its module is not imported


_undo: dict[str, Undo] = {}  # name -> how to put back what was there
_waiting: dict[str, Patch] = {}  # whose modules were not imported yet


def apply(patches: Iterable[Patch]) -> None:
    """Replace parts of the host; those that are replaced already stay as they are."""
    for patch in patches:
        if patch.name in _undo:
            continue
        undo = patch.put()
        if undo is None:
            _waiting[patch.name] = patch
        else:
            _undo[patch.name] = undo
            _waiting.pop(patch.name, None)


def apply_waiting() -> None:
    """Replace the parts whose modules have been imported since `apply`."""
    apply(list(_waiting.values()))


@contextmanager
def unpatched(patch: Patch) -> Iterator[None]:
    """Give the host its own part back for a while, as tests do to see if it is still at fault."""
    undo = _undo.pop(patch.name, None)
    if undo is not None:
        undo()
    try:
        yield
    finally:
        if undo is not None:
            apply([patch])


def replacing(
    name: str, make: Callable[[Any], Any], only_if_imported: bool = False
) -> Callable[[], Undo | None]:
    """Replace an attribute of a module, or of a class in it.

    Args:
        name: as `Patch.name`.
        make: makes the replacement from the host's own part, None if the host has no such part.
        only_if_imported: wait until something else has imported the module.
    """
    module, path = name.split(":")

    def put() -> Undo | None:
        if only_if_imported and module not in sys.modules:
            return None
        owner: Any = importlib.import_module(module)
        *outer, attribute = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        before = vars(owner).get(attribute, _ABSENT)

        def undo() -> None:
            if before is _ABSENT:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, before)

        setattr(owner, attribute, make(None if before is _ABSENT else before))
        return undo

    return put
