"""What `mgf info` shows: versions, machine, devices, the build of fairseq, missing extras.

The first thing that a report of a problem needs.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from ..utils.package import package_dir
from ..utils.processor import bf16_instructions, cores, processor_name
from . import machine
from .imports import attempt, fairseq_build
from .packages import FAIRSEQS, extras, version_of

# Shown with their versions, beside fairseq.
LIBRARIES = ("torch", "numpy", "hydra-core", "omegaconf", "soundfile", "soxr", "sentencepiece")


@dataclass(frozen=True)
class Facts:
    """An environment: versions by distribution (None: not installed), machine, devices."""

    folder: str
    python: str
    system: str
    fairseq: dict[str, str]
    fairseq_build: dict[str, str]  # compiled part -> its error
    versions: dict[str, str | None]
    libsndfile: str | None
    processor: str
    cores: int
    memory_gb: float | None
    processor_bf16: list[str]
    devices: list[machine.Device]
    extras: dict[str, list[str]]  # extra -> what it lacks


def collect() -> Facts:
    """Look at the environment of this process; imports torch and fairseq where they work."""
    torch, soundfile = attempt("torch"), attempt("soundfile")
    return Facts(
        folder=str(package_dir()),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        fairseq={name: version for name in FAIRSEQS if (version := version_of(name))},
        fairseq_build=fairseq_build(),
        versions={name: version_of(name) for name in LIBRARIES},
        libsndfile=soundfile.module.__libsndfile_version__ if soundfile.works else None,
        processor=processor_name(),
        cores=cores(),
        memory_gb=machine.memory_gb(),
        processor_bf16=bf16_instructions(),
        devices=machine.devices(torch.module) if torch.works else [],
        extras=extras(),
    )
