"""An s3prl upstream that runs by itself: files of torch alone, and the weights beside them.

The files are standalone.py and s3prl_expert.py of this folder, as they are.
"""

from __future__ import annotations

import importlib
import secrets
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .parity import Difference, compare
from .source import Source

NEEDS: tuple[str, ...] = ()
HEADS: tuple[str, ...] = ()  # s3prl trains heads of its own
WEIGHTS, EXPERT = "model.pt", "expert.py"
HUBCONF = '''\
"""The entry that torch.hub and s3prl.hub look for."""

import importlib as _importlib
import sys as _sys
import types as _types
from pathlib import Path as _Path


def mgf(ckpt=None, *args, **kwargs):
    """The upstream; `ckpt` is its model.pt if that is not in this folder."""
    folder = str(_Path(__file__).resolve().parent)
    name = "_mgf_upstream_" + folder.encode().hex()  # two exports in one process stay apart
    if name not in _sys.modules:
        _sys.modules[name] = _types.ModuleType(name)
        _sys.modules[name].__path__ = [folder]
    return _importlib.import_module(name + ".expert").UpstreamExpert(ckpt, *args, **kwargs)
'''


def usage(source: Source) -> str:
    """Code that loads an export."""
    return """\
import torch

upstream = torch.hub.load("DEST", "mgf", source="local")
waveforms = [torch.randn(16000), torch.randn(12000)]  # 16 kHz, (S,) each, as read from files
with torch.no_grad():
    hidden_states = upstream(waveforms)["hidden_states"]  # per layer (B, T, D)
"""


def write(source: Source, folder: Path) -> list[Difference]:
    """Write the files, load the upstream from them, and compare.

    Raises:
        ValueError: the model is for another sample rate than s3prl's.
    """
    if source.held.sample_rate != 16000:
        raise ValueError(
            f"{source.path}: at {source.held.sample_rate} Hz, and s3prl gives its upstreams 16000"
        )
    settings = source.settings()["encoder"]
    torch.save({"encoder": settings, "weights": source.held.weights}, folder / WEIGHTS)
    here = Path(__file__).parent
    text = (here / "s3prl_expert.py").read_text(encoding="utf-8")
    (folder / EXPERT).write_text(text, encoding="utf-8")
    text = (here / "standalone.py").read_text(encoding="utf-8")
    (folder / "standalone.py").write_text(text, encoding="utf-8")
    (folder / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    (folder / "__init__.py").write_text("", encoding="utf-8")
    upstream = _module(folder).UpstreamExpert().eval()
    return compare(source, lambda rows: _named(upstream(rows.raw)))


def _named(said: dict[str, Any]) -> dict[str, Any]:
    layers = {f"layer {number}": state for number, state in enumerate(said["hidden_states"])}
    return {**layers, "context": said["last_hidden_state"]}


def _module(folder: Path) -> ModuleType:
    """Import the written file as the package of its folder, under a name of no other."""
    name = f"_mgf_upstream_{secrets.token_hex(4)}"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(f"{name}.expert")
    finally:
        sys.dont_write_bytecode = before
        for module in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[module]
