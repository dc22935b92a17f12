"""Checks of the machine: threads, disk, shared memory, open files.

Each returns one finding and never raises.
"""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path

from ..utils import processor
from . import machine
from .findings import Finding, note, ok, problem

SHARED = Path("/dev/shm")
LEAST_SHARED_GB = 1.0  # batches of a few loader processes; containers have 0.06 by default
LEAST_DISK_GB = 2.0
LEAST_FILES = 1024


def threads() -> Finding:
    """Does OpenMP take as many threads as there are processors for it?"""
    given, cores = os.environ.get("OMP_NUM_THREADS", ""), processor.cores()
    if given.isdecimal() and int(given) > cores:
        text = (
            f"OMP_NUM_THREADS={given} on {cores} usable processor(s): threads wait for each other"
        )
        return note("threads", text, f"export OMP_NUM_THREADS={cores}")
    waits = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if not given and not waits and busy > cores:
        text = (
            f"other work keeps the {cores} processor(s) busy (load {busy:.0f}); there, threads "
            "that spin while they wait slow training down"
        )
        return note("threads", text, "export OMP_WAIT_POLICY=PASSIVE, or OMP_NUM_THREADS=1")
    return ok("threads", f"{given or cores} of {cores} usable processor(s)")


def disk(folder: Path) -> Finding:
    """Is the folder writable, with room for checkpoints?"""
    if not os.access(folder, os.W_OK):
        fix = "start the command in a folder of your own"
        return problem("disk", f"{folder} is not writable", fix)
    free = shutil.disk_usage(folder).free / machine.GB
    if free < LEAST_DISK_GB:
        text = f"{free:.1f} GB free at {folder}; checkpoints and features need more"
        return problem("disk", text, "free some space, or work on another disk")
    return ok("disk", f"{free:.0f} GB free at {folder}")


def temporary_files() -> Finding:
    """Is there a folder for temporary files?"""
    try:
        with tempfile.TemporaryFile() as stream:
            stream.write(b"x")
    except OSError as error:
        return problem("temporary files", str(error), "set TMPDIR to a folder that is writable")
    return ok("temporary files", tempfile.gettempdir())


def shared_memory() -> Finding:
    """Is there shared memory for batches of loader processes?"""
    if not SHARED.is_dir():
        return ok("shared memory", "this system has no /dev/shm")
    size = shutil.disk_usage(SHARED).free / machine.GB
    if size < LEAST_SHARED_GB:
        text = (
            f"{size:.2f} GB free at {SHARED}: loader processes end with a bus error when it is full"
        )
        fix = "docker run --shm-size=8g (or --ipc=host), or dataset.num_workers=0"
        return problem("shared memory", text, fix)
    return ok("shared memory", f"{size:.0f} GB free at {SHARED}")


def open_files() -> Finding:
    """May a process open as many files as loaders with archives do?"""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < LEAST_FILES:
        text = f"a process may open {limit} files"
        return note("open files", text, f"ulimit -n {LEAST_FILES * 4}")
    return ok("open files", f"{limit} per process")
