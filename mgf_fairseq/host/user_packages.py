"""Import a user's own package, as fairseq does with ``common.user_dir``.

For the verbs that read checkpoints: what the package registers is then known here too.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from fairseq.utils import import_user_module

from .. import plugin as plugin  # as in a training, where the package may build on it


def import_package(folder: Path) -> None:
    """Import the package in `folder`; a second call does nothing.

    Raises:
        ValueError: it is no package, or importing it fails.
    """
    if not (folder / "__init__.py").is_file():
        raise ValueError(
            f"--user-dir {folder}: no package (no __init__.py there); give the folder that "
            "common.user_dir was given"
        )
    try:
        import_user_module(Namespace(user_dir=str(folder.resolve())))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"--user-dir {folder}: importing it failed ({reason})") from error
