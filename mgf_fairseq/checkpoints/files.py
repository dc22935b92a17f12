"""Checkpoint files: written whole or not at all, verified, and read without running code.

Below every loader and saver: :mod:`mgf_fairseq.checkpoints.reading` reads for our commands, and
:mod:`mgf_fairseq.host.saving` and :mod:`mgf_fairseq.host.checkpointing` put these functions under
fairseq's own saving and resuming.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

FORMAT_KEY = "mgf_format"
FORMAT_VERSION = 1  # files from before it was written count as 0
PART = ".part"  # a file that is being written; fairseq's writer adds .tmp to that
_BLOCK = 1 << 20  # bytes
_ZIP_MAGIC = b"PK\x03\x04"  # what torch.save has written since torch 1.6


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the file, the reason and what to do instead."""


class BrokenCheckpoint(CheckpointError):
    """A checkpoint whose bytes are not those that were written: cut short, or changed."""


def read_state(
    path: Path,
    safe: Sequence[type],
    mmap: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Verify a checkpoint and read it without running any code that it may hold.

    Args:
        path: the file.
        safe: classes to let through beside tensors and plain containers; inert ones.
        mmap: read tensors when they are used. The file must stay as it is meanwhile.
        progress: called while the file is verified.

    Raises:
        BrokenCheckpoint: it is cut short or changed.
        CheckpointError: no such file, it holds other classes, or is of a newer format.
    """
    require_whole(path, progress)
    return peek_state(path, safe, mmap)


def peek_state(path: Path, safe: Sequence[type], mmap: bool = True) -> dict[str, Any]:
    """As :func:`read_state`, without verifying what the tensors hold."""
    is_zip = _is_zip(path)
    # On leaving, safe_globals also takes off the list what was on it before.
    added: Any = [kind for kind in safe if kind not in torch.serialization.get_safe_globals()]
    try:
        with torch.serialization.safe_globals(added):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
    except Exception as error:  # noqa: BLE001 (spoiled bytes make an unpickler raise anything)
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {named[1]}" if named else "it is no file that torch.save has written"
        # What is in a whole zip file, or names a class, was written so on purpose.
        raise (CheckpointError if named or is_zip else BrokenCheckpoint)(
            f"{path}: refused, {reason}; only tensors and plain containers are read. "
            "Use a checkpoint saved by fairseq-hydra-train, unharmed"
        ) from None
    if not isinstance(state, dict) or "model" not in state:
        raise CheckpointError(f"{path}: not a fairseq checkpoint (it has no 'model' entry)")
    version = state.get(FORMAT_KEY, 0)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: refused, it is of format {version!r}, and this mgf_fairseq reads formats up "
            f"to {FORMAT_VERSION}; install the version that wrote it, or a newer one"
        )
    return state


@contextmanager
def interpreting(path: Path | str) -> Iterator[None]:
    """Name the file where its contents, though well formed, are not what they should be.

    Raises:
        CheckpointError: in the place of whatever these contents led to.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (
        *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError),
        *(RuntimeError, OmegaConfBaseException),
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path}: its contents cannot be used ({type(error).__name__}: {reason}); give a "
            "checkpoint as fairseq-hydra-train has saved it"
        ) from error


def require_whole(path: Path, progress: Callable[[], object] = lambda: None) -> None:
    """Compare every byte with the checksums in the file, as far as it has them.

    `progress` is called after each block that was read.

    Raises:
        BrokenCheckpoint: it is cut short or changed.
        CheckpointError: no such file.
    """
    if not _is_zip(path):
        return  # older formats hold no checksums; only reading shows if they are whole
    try:
        with zipfile.ZipFile(path) as archive:
            changed = _first_changed(archive, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BrokenCheckpoint(f"{path}: refused, it is cut short or changed ({error})") from None
    if changed is not None:
        raise BrokenCheckpoint(f"{path}: refused, {changed} in it has changed since it was written")


def _first_changed(archive: zipfile.ZipFile, progress: Callable[[], object]) -> str | None:
    """Name the first part whose bytes are not those of its checksum."""
    for part in archive.infolist():
        try:
            with archive.open(part) as file:
                while file.read(_BLOCK):
                    progress()
        except zipfile.BadZipFile:
            return part.filename
    return None


def _is_zip(path: Path) -> bool:
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder, and no checkpoint file")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Let `write` make a file beside `path`, verify it on the disk, and only then rename it.

    Raises:
        CheckpointError: it could not be written; `path` is as it was.
    """
    part = f"{path}{PART}"
    try:
        write(part)
        _sync(part)
        require_whole(Path(part))
        os.replace(part, path)
    except (OSError, RuntimeError, CheckpointError) as error:
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise CheckpointError(
            f"{path}: could not be written ({reason}); "
            f"{_free_space(path.parent)}, and the file of before is unchanged"
        ) from error
    finally:
        _remove(Path(part), Path(f"{part}.tmp"))
    with suppress(OSError):  # some file systems cannot, and the file itself is safe
        _sync(str(path.parent))


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file so that `path` holds either what it held or the whole copy.

    Raises:
        CheckpointError: it could not be written; `path` is as it was.
    """
    write_whole(path, lambda part: shutil.copyfile(source, part))


def remove_parts(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    _remove(*folder.glob(f"*.pt{PART}"), *folder.glob(f"*.pt{PART}.tmp"))


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _sync(path: str) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_space(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MB are free in {folder}"
    except OSError:
        return f"{folder} cannot be reached"
