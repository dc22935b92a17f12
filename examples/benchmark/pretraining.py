"""Pre-training speed and peak memory of MGF beside fairseq's and transformers' wav2vec 2.0.

One step is forward, backward, gradient clipping and AdamW on synthetic audio in memory. The
systems take turns, so that whatever else the machine does hits all of them; each ratio is taken
within one round. `README.md` says what is equal between them and what is not.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from flops import add_utilization, print_utilization
from machine import describe_machine, progress
from parts import profile_parts
from peak_memory import measure_memory, memory_of
from peers import PEERS, available_peers
from setting import Setting, System
from systems import COMPILED, SCALES, build, without

from mgf_fairseq.utils.processor import cores

MGF = "mgf"
PHONEME_ONLY = "mgf phoneme only"
WARM_UP_STEPS = 2


def parse_arguments() -> argparse.Namespace:
    """Read the command line; what depends on the shape or device has its default here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", choices=("debug", "mini", "small", "base"), default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seconds", type=float, help="per row; default: 3, or 10 (base)")
    parser.add_argument("--rows", type=int, help="even; default: 16, or base: 8, 2 on CPU")
    parser.add_argument("--threads", type=int, default=cores(), help="of the CPU")
    parser.add_argument("--rounds", type=int, default=7, help="in which each system has its turn")
    parser.add_argument("--steps", type=int, default=1, help="per turn")
    parser.add_argument("--extractor-mode", choices=("layer_norm", "default"), default="layer_norm")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: seconds of the process on all its threads, for a machine that is not quiet",
    )
    parser.add_argument("--compiled", action="store_true", help="add MGF with task.compile=encoder")
    parser.add_argument("--no-shares", action="store_true", help="leave out the objectives' shares")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--mfu", action="store_true", help="add the share of the matrix rate")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    base, cpu = arguments.shape == "base", arguments.device == "cpu"
    if arguments.seconds is None:
        arguments.seconds = 10.0 if base else 3.0
    if arguments.rows is None:
        arguments.rows = 16 if not base else 2 if cpu else 8
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


def clock_of(arguments: argparse.Namespace) -> Callable[[], float]:
    """Choose the clock."""
    return time.process_time if arguments.clock == "cpu" else time.perf_counter


def measure_speed(
    names: list[str], setting: Setting, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Let the systems take turns: seconds per step of each round, and facts, by name."""
    clock = clock_of(arguments)
    systems = [build(name, setting) for name in names]
    masked: dict[str, list[float]] = {name: [] for name in names}
    warm_up: dict[str, float] = {}  # seconds, in which what is compiled is compiled
    for system in systems:
        began = time.perf_counter()
        _timed(system, 0, WARM_UP_STEPS, clock)
        warm_up[system.name] = time.perf_counter() - began
        progress(f"{system.name}: {warm_up[system.name]:.1f} s for the first {WARM_UP_STEPS} steps")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        first = number % len(systems)  # nobody always follows the same neighbor
        for system in systems[first:] + systems[:first]:
            start = WARM_UP_STEPS + number * arguments.steps
            seconds[system.name].append(_timed(system, start, arguments.steps, clock))
            masked[system.name].append(system.masked_frames())
        progress(f"round {number + 1} of {arguments.rounds}")
    facts = {
        system.name: {
            "parameters": system.num_parameters,
            "masked_frames": statistics.mean(masked[system.name]),
            "warm_up_s": warm_up[system.name],
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


def compare_all(arguments: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Measure and print everything that was asked for; returns what the JSON file holds."""
    names = [MGF, *([COMPILED] if arguments.compiled else []), PHONEME_ONLY, *available_peers()]
    seconds, facts = measure_speed(names, setting, arguments)
    memory = {} if arguments.no_memory else measure_memory(names)
    table = compare(seconds, memory, setting.audio_seconds)
    print_comparison(table, facts)
    result: dict[str, Any] = {"clock": arguments.clock, "setting": asdict(setting)}
    if arguments.mfu:
        result["matrix_rate"] = add_utilization(table, setting, clock_of(arguments))
        print_utilization(table, result["matrix_rate"])
    result["systems"] = {name: {**facts[name], **row} for name, row in table.items()}
    if not arguments.no_shares:
        variants = [MGF, *(without(scale) for scale in SCALES)]
        gc.collect()
        result["shares"] = shares(measure_speed(variants, setting, arguments)[0])
        result["parts"] = profile_parts(build(MGF, setting))
        print_shares(result["shares"], result["parts"])
    return result


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
    machine = describe_machine(arguments.device, arguments.threads)
    print(f"{machine['hardware']}; load {machine['load_before']:.1f} before; {machine['versions']}")
    print(f"{setting}; seconds are of the {arguments.clock} clock")
    for name in sorted(set(PEERS) - set(available_peers())):
        print(f"{name} is not installed and skipped: pip install {name}")
    command = shlex.join(["python", *sys.argv])
    result = {"command": command, **machine, **compare_all(arguments, setting)}
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
