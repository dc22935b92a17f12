"""Pre-training speed and peak memory of MGF beside fairseq's and transformers' wav2vec 2.0.

One step is forward, backward, gradient clipping and AdamW on synthetic audio in memory. The
systems take turns, so that whatever else the machine does hits all of them; each ratio is taken
within one round. `README.md` says what is equal between them and what is not.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import logging
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from parts import profile_parts
from systems import PEERS, SCALES, Setting, System, available_peers, build, without

MGF = "mgf"
PHONEME_ONLY = "mgf phoneme only"
STATUS = Path("/proc/self/status")
# Every sizeable block straight from and back to the system: the process is as large as its tensors.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MEMORY_STEPS = 3
WARM_UP_STEPS = 2


def parse_arguments() -> argparse.Namespace:
    """Read the command line; what depends on the shape or device has its default here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", choices=("small", "base"), default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seconds", type=float, help="per row; default: 3 (small), 10 (base)")
    parser.add_argument("--rows", type=int, help="even; default: 16 (small), 2 on CPU, 8 (base)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--rounds", type=int, default=7, help="in which each system has its turn")
    parser.add_argument("--steps", type=int, default=1, help="per turn")
    parser.add_argument("--extractor-mode", choices=("layer_norm", "default"), default="layer_norm")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: seconds of the process on all its threads, for a machine that is not quiet",
    )
    parser.add_argument("--no-shares", action="store_true", help="leave out the objectives' shares")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    small, cpu = arguments.shape == "small", arguments.device == "cpu"
    if arguments.seconds is None:
        arguments.seconds = 3.0 if small else 10.0
    if arguments.rows is None:
        arguments.rows = 16 if small else 2 if cpu else 8
    if arguments.rows < 2 or arguments.rows % 2:
        parser.error(f"--rows {arguments.rows} must be even: MGF sees two views per utterance")
    if arguments.clock == "cpu" and not cpu:
        parser.error("--clock cpu does not see a GPU; leave it out")
    return arguments


def setting_of(arguments: argparse.Namespace) -> Setting:
    """Take from the command line what the systems share."""
    return Setting(
        arguments.shape,
        arguments.device,
        arguments.precision,
        arguments.seconds,
        arguments.rows,
        arguments.extractor_mode,
    )


def measure_speed(
    names: list[str], setting: Setting, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Let the systems take turns: seconds per step of each round, and facts, by name."""
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    systems = [build(name, setting) for name in names]
    masked: dict[str, list[float]] = {name: [] for name in names}
    for system in systems:
        _timed(system, 0, WARM_UP_STEPS, clock)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        first = number % len(systems)  # nobody always follows the same neighbor
        for system in systems[first:] + systems[:first]:
            start = WARM_UP_STEPS + number * arguments.steps
            seconds[system.name].append(_timed(system, start, arguments.steps, clock))
            masked[system.name].append(system.masked_frames())
        _progress(f"round {number + 1} of {arguments.rounds}")
    facts = {
        system.name: {
            "parameters": system.num_parameters,
            "masked_frames": statistics.mean(masked[system.name]),
        }
        for system in systems
    }
    return seconds, facts


def _timed(system: System, start: int, steps: int, clock: Callable[[], float]) -> float:
    """Run steps and return the seconds of one; each step ends by reading the loss."""
    gc.collect()
    began = clock()
    for number in range(start, start + steps):
        system.step(number)
    if system.setting.device == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / steps


def memory_of(name: str, setting: Setting) -> float | None:
    """Measure the peak MiB of parameters, gradients, optimizer and activations, in this process."""
    if setting.device == "cuda":
        torch.cuda.init()
        _run_for_memory(name, setting)
        return float(torch.cuda.max_memory_allocated() / 2**20)
    if not STATUS.exists():
        return None  # only Linux reports it
    small = Setting(rows=2, seconds=0.5)
    _run_for_memory(name, small)  # loads the libraries, which are not what is compared
    gc.collect()
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    _run_for_memory(name, setting)
    return _status_mib("VmHWM") - before


def _run_for_memory(name: str, setting: Setting) -> None:
    system = build(name, setting)
    for number in range(MEMORY_STEPS):
        system.step(number)


def _status_mib(key: str) -> float:
    """Read a size of this process; unlike ru_maxrss it knows nothing of the parent's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def measure_memory(names: list[str]) -> dict[str, float | None]:
    """Measure each system in a process of its own: MiB by name."""
    peaks: dict[str, float | None] = {}
    for name in names:
        command = [sys.executable, *sys.argv, "--memory-of", name]
        done = subprocess.run(
            command, env={**os.environ, **MALLOC}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")
        peaks[name] = json.loads(done.stdout.splitlines()[-1])
        _progress(f"memory of {name}")
    return peaks


def compare(
    seconds: dict[str, list[float]], memory: dict[str, float | None], audio_seconds: float
) -> dict[str, dict[str, Any]]:
    """Summarize each system, and each peer's time and memory in units of MGF's."""
    table: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds[MGF], strict=True)]
        ours, theirs = memory.get(MGF), memory.get(name)
        table[name] = {
            "step_s": statistics.median(times),
            "audio_s_per_s": audio_seconds / statistics.median(times),
            "speed_ratio": statistics.median(ratios),
            "speed_ratio_min": min(ratios),
            "speed_ratio_max": max(ratios),
            "memory_mib": theirs,
            "memory_ratio": theirs / ours if theirs and ours else None,
            "all_step_s": times,
        }
    return table


def shares(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Say what each objective costs: the share of the step that is saved without it."""
    result = {}
    for scale in SCALES:
        rest = seconds[without(scale)]
        each = [1 - fewer / full for fewer, full in zip(rest, seconds[MGF], strict=True)]
        result[scale] = {"median": statistics.median(each), "min": min(each), "max": max(each)}
    return result


def print_comparison(table: dict[str, dict[str, Any]], facts: dict[str, dict[str, Any]]) -> None:
    """Print one line per system; ratios above 1 are in MGF's favor."""
    print(
        f"\n{'system':<18}{'parameters':>11}{'masked':>8}{'s/step':>9}{'audio s/s':>11}"
        f"{'MGF faster by':>22}{'peak MiB':>10}{'MGF smaller by':>16}"
    )
    for name, row in table.items():
        spread = f"{row['speed_ratio_min']:.2f}-{row['speed_ratio_max']:.2f}"
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
        ratio = "-" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}"
        print(
            f"{name:<18}{facts[name]['parameters'] / 1e6:>10.2f}M"
            f"{facts[name]['masked_frames']:>8.1%}{row['step_s']:>9.3f}"
            f"{row['audio_s_per_s']:>11.1f}{row['speed_ratio']:>10.2f} ({spread})"
            f"{memory:>10}{ratio:>16}"
        )


def print_shares(share: dict[str, dict[str, float]], parts: dict[str, dict[str, float]]) -> None:
    """Print what each objective and each part of the step cost."""
    print("\nShare of MGF's step that is saved without one objective:")
    for scale, row in share.items():
        print(f"  {scale:<12}{row['median']:>7.1%}  ({row['min']:.1%} to {row['max']:.1%})")
    print("  (what two objectives share counts for neither)")
    print(f"\n{'part of the step (profiler)':<34}{'forward':>10}{'backward':>10}{'both':>8}")
    for name, row in parts.items():
        both = row["forward"] + row["backward"]
        print(f"  {name:<32}{row['forward']:>10.1%}{row['backward']:>10.1%}{both:>8.1%}")
    for scale in SCALES:
        own = sum(sum(row.values()) for name, row in parts.items() if name.startswith(f"{scale}:"))
        print(f"  {scale + ', all of it':<32}{own:>28.1%}")


def describe_machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Name the hardware, the versions and the load that others put on the machine."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = models[0].split(":")[1].strip() if models else cpu
    hardware = f"{cpu}, {os.cpu_count()} cores, {arguments.threads} threads used"
    if arguments.device == "cuda":
        hardware = f"{torch.cuda.get_device_name()}; {hardware}"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("fairseq-fixed", "fairseq", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "hardware": hardware,
        "load_before": os.getloadavg()[0],
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the comparison, or one system's memory where a parent asks for it."""
    warnings.filterwarnings("ignore")  # of the peers, about themselves
    logging.disable(logging.INFO)
    arguments = parse_arguments()
    setting = setting_of(arguments)
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(json.dumps(memory_of(arguments.memory_of, setting)))
        return
    machine = describe_machine(arguments)
    print(f"{machine['hardware']}; load {machine['load_before']:.1f} before; {machine['versions']}")
    print(f"{setting}; seconds are of the {arguments.clock} clock")
    peers = available_peers()
    for name in sorted(set(PEERS) - set(peers)):
        print(f"{name} is not installed and skipped: pip install {name}")
    names = [MGF, PHONEME_ONLY, *peers]
    seconds, facts = measure_speed(names, setting, arguments)
    memory = {} if arguments.no_memory else measure_memory(names)
    table = compare(seconds, memory, setting.audio_seconds)
    print_comparison(table, facts)
    result = {
        "command": shlex.join(["python", *sys.argv]),
        **machine,
        "clock": arguments.clock,
        "setting": asdict(setting),
        "systems": {name: {**facts[name], **row} for name, row in table.items()},
    }
    if not arguments.no_shares:
        variants = [MGF, *(without(scale) for scale in SCALES)]
        gc.collect()
        result["shares"] = shares(measure_speed(variants, setting, arguments)[0])
        result["parts"] = profile_parts(build(MGF, setting))
        print_shares(result["shares"], result["parts"])
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
