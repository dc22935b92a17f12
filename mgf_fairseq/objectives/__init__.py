"""The objectives, one file each; importing this package imports every file in its folder.

A fifth is a new file here (or anywhere that is imported) with a class under
:func:`~mgf_fairseq.objectives.base.register_objective`; nothing else changes.
"""

import importlib
import pkgutil

from .base import OBJECTIVES, Objective, build_objectives, register_objective
from .config import ObjectiveConfig

__all__ = [
    "OBJECTIVES",
    "Objective",
    "ObjectiveConfig",
    "build_objectives",
    "import_all",
    "register_objective",
]


def import_all() -> None:
    """Import every file in this folder, which registers the objectives in them."""
    for found in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{found.name}")


import_all()
