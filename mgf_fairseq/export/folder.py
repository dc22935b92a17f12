"""The folder of an export: written beside its place, and named only when it is whole.

A folder that no export wrote is never replaced.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MARKER = "mgf_export.json"  # says that `mgf export` wrote the folder, from what, and its parity


class DestinationError(ValueError):
    """A folder that cannot be written to."""


def require_free(dest: Path, marker: str = MARKER, verb: str = "mgf export") -> None:
    """Accept what does not exist, an empty folder, and the folder of an earlier call of the verb.

    Raises:
        DestinationError: it is anything else.
    """
    if dest.is_dir() and ((dest / marker).is_file() or not any(dest.iterdir())):
        return
    if dest.exists() or dest.is_symlink():
        raise DestinationError(
            f"--dest {dest}: exists, and {verb} did not write it; give another, or remove it"
        )


@contextmanager
def new_folder(dest: Path, marker: str = MARKER, verb: str = "mgf export") -> Iterator[Path]:
    """A folder to fill, which takes the place of `dest` at the end and is removed after an error.

    Args:
        dest: the folder.
        marker: file that each folder of this verb holds.
        verb: that writes it, for messages.

    Raises:
        DestinationError: `dest` must not be replaced, or cannot be made.
    """
    require_free(dest, marker, verb)
    dest = dest.resolve()
    part = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}.tmp")
    old = part.with_suffix(".old")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise DestinationError(f"--dest {dest}: cannot be made ({error.strerror})") from None
    try:
        yield part
        if dest.exists():
            dest.rename(old)
        part.rename(dest)
    except BaseException:
        if old.exists() and not dest.exists():
            old.rename(dest)
        raise
    finally:
        for folder in (part, old):
            with suppress(OSError):
                shutil.rmtree(folder)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people read it."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    path.write_text(f"{text}\n", encoding="utf-8")


def write_weights(path: Path, weights: dict[str, Any]) -> None:
    """Write tensors as safetensors, each with memory of its own."""
    from safetensors.torch import save_file

    # "format" is what transformers looks for.
    save_file({k: v.detach().clone() for k, v in weights.items()}, path, {"format": "pt"})
