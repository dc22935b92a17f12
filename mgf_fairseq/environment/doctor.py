"""All checks of an environment in one list, from the most basic on. `mgf doctor` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import software, system
from .findings import Finding


def examine(folder: Path, user_dir: Path | None = None) -> Iterator[Finding]:
    """Yield what each check finds.

    Args:
        folder: where trainings would be started.
        user_dir: a package of the user's own, as for common.user_dir.
    """
    yield software.python()
    yield software.requirements()
    yield software.torch()
    yield software.fairseq()
    yield software.fairseq_compiled()
    yield software.audio_formats()
    yield software.one_copy()
    if user_dir is not None:
        yield software.user_package(user_dir)
    yield system.threads()
    yield system.disk(folder)
    yield system.temporary_files()
    yield system.shared_memory()
    yield system.open_files()
