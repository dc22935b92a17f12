"""`mgf info`: versions, machine, devices and missing extras; the start of a report of a problem."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import quiet_libraries

if TYPE_CHECKING:
    from ..environment.facts import Facts

HELP = "show versions, machine, devices, and which optional packages are missing"
EXAMPLES = """\
examples:
  mgf info                       put this into a report of a problem
  mgf info --json

`mgf doctor` looks for what is broken, and names the fix.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb takes no options."""


def run(args: argparse.Namespace) -> int:
    """Print the facts and return 0."""
    quiet_libraries()
    from ..environment.facts import collect
    from . import version

    facts = collect()

    def line(name: str, value: object) -> None:
        print(f"{name:<14}{value}")

    line("mgf_fairseq", f"{version()}, {facts.folder}")
    line("python", f"{facts.python}, {facts.system}")
    installed = ", ".join(f"{x} {v}" for x, v in facts.fairseq.items()) or "not installed"
    line("fairseq", f"{installed}; {_build(facts)}")
    for name, found in facts.versions.items():
        extra = f", libsndfile {facts.libsndfile}" if name == "soundfile" and found else ""
        line(name, f"{found or 'not installed'}{extra}")
    memory = f"{facts.memory_gb:.0f} GB of memory" if facts.memory_gb else "memory unknown"
    line("processor", f"{facts.cores} usable x {facts.processor}, {memory}")
    bf16 = ", ".join(facts.processor_bf16)
    line("bf16 on it", f"yes ({bf16})" if bf16 else "no instructions for it: use fp32")
    for number, device in enumerate(facts.devices):
        bf16 = "bf16" if device.bf16 else "no bf16: use fp16"
        line(f"cuda:{number}", f"{device.name}, {device.memory_gb:.0f} GB, {bf16}")
    if not facts.devices:
        line("cuda", "no device that this torch can use")
    for extra, missing in facts.extras.items():
        line(f"[{extra}]", f"missing: {', '.join(missing)}" if missing else "complete")
    args.result = facts
    return 0


def _build(facts: Facts) -> str:
    broken = [name for name, error in facts.fairseq_build.items() if error]
    return f"does not load: {', '.join(broken)}" if broken else "compiled"
