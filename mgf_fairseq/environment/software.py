"""Checks of what is installed: Python, torch, numpy, fairseq, libsndfile, the package itself.

Each returns one finding and never raises, however broken the environment is.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from ..utils.package import package_dir
from . import machine
from .findings import Finding, note, ok, problem
from .imports import COMPILED, attempt
from .packages import FAIRSEQS, core_problems, version_of

PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that are supported
FORMATS = ("WAV", "FLAC", "OGG", "MP3")
SETUP = "bash examples/setup_env.sh makes an environment that works"
INSTALL = "pip install --no-build-isolation fairseq-fixed"
REINSTALL = "pip install --force-reinstall --no-deps --no-build-isolation fairseq-fixed"
COMPILE = (
    "pip install --force-reinstall --no-deps --no-build-isolation --no-binary fairseq-fixed "
    "fairseq-fixed"
)


def python() -> Finding:
    """Is this a supported Python?"""
    version = ".".join(map(str, sys.version_info[:3]))
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return ok("python", version)
    return problem("python", f"{version}; 3.11 to 3.13 work", SETUP)


def requirements() -> Finding:
    """Are all requirements installed, in versions that fit?"""
    missing = core_problems()
    if not missing:
        return ok("requirements", "all are installed, in versions that fit")
    words = " ".join(f"'{name}'" for name in missing)
    return problem("requirements", f"not met: {', '.join(missing)}", f"pip install {words}")


def torch() -> Finding:
    """Does torch load, exchange arrays with numpy, and use the GPU that is there?"""
    found = attempt("torch")
    if not found.works:
        return problem("torch", f"cannot be imported ({found.error})", SETUP)
    version, module = found.module.__version__, found.module
    try:
        module.zeros(2).numpy()
    except RuntimeError as error:
        fix = "install a numpy and a torch that fit: constraints.txt has versions that do"
        return problem("torch", f"{version} does not work with this numpy ({error})", fix)
    if machine.nvidia_driver() and not module.cuda.is_available():
        text = f"{version} sees no CUDA device, though an NVIDIA driver is loaded"
        fix = "install a CUDA build of torch for this driver; check CUDA_VISIBLE_DEVICES"
        return note("torch", text, fix)
    where = f"{module.cuda.device_count()} GPU(s)" if module.cuda.is_available() else "CPU"
    return ok("torch", f"{version}, {where}")


def fairseq() -> Finding:
    """Is one fairseq there, and does it load?"""
    there = {name: version for name in FAIRSEQS if (version := version_of(name))}
    if len(there) > 1:
        names = ", ".join(there)
        fix = f"pip uninstall {' '.join(there)}, then {INSTALL}"
        return problem("fairseq", f"{names} are installed over each other", fix)
    found = attempt("fairseq")
    if not found.works and not there:
        return problem("fairseq", "not installed", INSTALL)
    if not found.works:
        fix = f"pip uninstall {next(iter(there))}, then {INSTALL}"
        return problem("fairseq", f"cannot be imported ({found.error})", fix)
    name, version = next(iter(there.items()), ("a checkout", found.module.__version__))
    return ok("fairseq", f"{version} ({name})")


def fairseq_compiled() -> Finding:
    """Are the compiled parts of fairseq there, and were they compiled for this torch?"""
    attempt("torch")
    needed, linked = (attempt(name) for name in COMPILED)
    if not needed.works:
        text = f"not compiled: {COMPILED[0]} does not load ({needed.error})"
        return problem("fairseq build", text, REINSTALL)
    if not linked.works:
        text = (
            f"{COMPILED[1]} was compiled for another torch ({linked.error}); only fairseq's BASE "
            "layers need it, and nothing here does"
        )
        return note("fairseq build", text, COMPILE)
    return ok("fairseq build", "its compiled parts load with this torch")


def audio_formats() -> Finding:
    """Does libsndfile read what the corpora of the field use?"""
    found = attempt("soundfile")
    if not found.works:
        return problem(
            "audio", f"soundfile: {found.error}", "pip install --force-reinstall soundfile"
        )
    missing = [name for name in FORMATS if name not in found.module.available_formats()]
    if "OGG" not in missing and "OPUS" not in found.module.available_subtypes("OGG"):
        missing.append("Opus")
    version = found.module.__libsndfile_version__
    if missing:
        fix = (
            "pip install --upgrade --force-reinstall soundfile, whose wheel has a newer libsndfile"
        )
        return problem("audio", f"libsndfile {version} cannot read {', '.join(missing)}", fix)
    return ok("audio", f"libsndfile {version} reads wav, FLAC, Ogg, Opus and MP3")


def one_copy() -> Finding:
    """Would `common.user_dir=$(mgf user-dir)` find this package, or another of the same name?"""
    here = package_dir().resolve()
    for entry in sys.path:
        other = (Path(entry or ".") / "mgf_fairseq").resolve()
        if other != here and (other / "__init__.py").is_file():
            text = f"a second mgf_fairseq is in {other.parent}; this command uses {here.parent}"
            fix = "pip uninstall mgf-fairseq, or start the command outside the other checkout"
            return problem("package", text, fix)
    return ok("package", str(here))


def user_package(folder: Path) -> Finding:
    """Can fairseq import this folder as common.user_dir, under its own name?"""
    if not (folder / "__init__.py").is_file():
        fix = "give the folder that holds the __init__.py of your package"
        return problem("user dir", f"{folder} is no package (no __init__.py there)", fix)
    name = folder.resolve().name
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    origin = Path(spec.origin).parent if spec and spec.origin else None
    if spec is not None and origin is not None and origin.resolve() != folder.resolve():
        text = f"{folder} has the name of another package: {name} is imported from {origin}"
        return problem("user dir", text, f"rename {folder} to a name that no package has")
    return ok("user dir", str(folder))
