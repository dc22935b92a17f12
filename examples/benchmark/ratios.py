"""Three ratios in one command: against wav2vec 2.0, of four objectives to one, of the loader.

Each is taken within a round, in processor time (a GPU's steps: wall time), and is the median of
the rounds. Steps and readings are those of pretraining.py and loader.py. ``--append`` adds a line
to history.jsonl.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from loader import read_sequentially, read_through_loader, waveforms, write_files
from loading import quiet_folder
from machine import card_or_processor, commit, describe_machine, progress
from pretraining import MGF, PHONEME_ONLY, WARM_UP_STEPS
from setting import Setting, System
from systems import build

HISTORY = Path(__file__).parent / "history.jsonl"
WAV2VEC2 = "fairseq"
MEANING = {
    "mgf_speed_over_wav2vec2": "seconds of fairseq's wav2vec 2.0 per second of MGF",
    "four_objectives_over_one": "seconds of all objectives per second of the contrastive one",
    "loader_speed_over_sequential": "audio per second, of that of reading files from end to end",
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", choices=("debug", "mini", "small", "base"), default="mini")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seconds", type=float, default=3.0, help="per row")
    parser.add_argument("--rows", type=int, default=8, help="even: two views of each utterance")
    parser.add_argument("--rounds", type=int, default=5, help="in which each has its turn")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--loader-seconds", type=float, default=1.0, help="of each reading")
    parser.add_argument("--output", type=Path, help="JSON file to write, with every round")
    parser.add_argument("--append", action="store_true", help=f"add a line to {HISTORY.name}")
    arguments = parser.parse_args()
    if arguments.rows < 2 or arguments.rows % 2:
        parser.error(f"--rows {arguments.rows} must be even: MGF sees two views per utterance")
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds} must be above 0")
    # What loader.py asks for besides.
    arguments.files, arguments.file_seconds, arguments.manifest = 40, 12.0, None
    arguments.max_tokens, arguments.cache = 1_400_000, "none"
    return arguments


def step_seconds(system: System, number: int) -> float:
    """Run a step, which ends by reading the loss; processor seconds, or on a GPU seconds."""
    clock = time.process_time if system.setting.device == "cpu" else time.perf_counter
    began = clock()
    system.step(number)
    return clock() - began


def measure(
    arguments: argparse.Namespace, setting: Setting, folder: Path
) -> list[dict[str, float]]:
    """Let all take turns, in an order that rotates; the ratios of each round."""
    write_files(folder, waveforms(arguments), "wav")
    systems = [build(name, setting) for name in (MGF, PHONEME_ONLY, WAV2VEC2)]
    for system in systems:
        for number in range(WARM_UP_STEPS):
            system.step(number)
    rounds = []
    for number in range(arguments.rounds):
        first = number % len(systems)
        took = {
            system.name: step_seconds(system, WARM_UP_STEPS + number)
            for system in systems[first:] + systems[:first]
        }
        at_least = arguments.loader_seconds
        plain = read_sequentially(folder / "wav", at_least)
        loaded = read_through_loader(folder / "wav", 0, arguments, at_least)
        rounds.append(ratios(took, plain.cpu, loaded.cpu))
        progress(f"round {number + 1} of {arguments.rounds}")
    return rounds


def ratios(took: dict[str, float], plain: float, loaded: float) -> dict[str, float]:
    """The ratios of one round, from seconds per step and audio seconds per second."""
    return {
        "mgf_speed_over_wav2vec2": took[WAV2VEC2] / took[MGF],
        "four_objectives_over_one": took[MGF] / took[PHONEME_ONLY],
        "loader_speed_over_sequential": loaded / plain,
    }


def history_line(rounds: list[dict[str, float]], facts: dict[str, Any]) -> dict[str, Any]:
    """What history.jsonl keeps: the medians, and what they depend on."""
    medians = {key: round(statistics.median(row[key] for row in rounds), 3) for key in MEANING}
    return {**facts, "rounds": len(rounds), "ratios": medians}


def main() -> None:
    """Measure, print, write."""
    warnings.filterwarnings("ignore")  # of the peers, about themselves
    logging.disable(logging.INFO)
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    machine = describe_machine(arguments.device, arguments.threads)
    setting = Setting(
        arguments.shape,
        arguments.device,
        arguments.precision,
        arguments.seconds,
        arguments.rows,
    )
    facts = {
        "commit": commit(),
        "date": machine["date"],
        "on": card_or_processor(arguments.device),
        **{key: getattr(arguments, key) for key in ("shape", "precision", "rows", "seconds")},
    }
    with quiet_folder(None) as folder:
        rounds = measure(arguments, setting, folder)
    line = history_line(rounds, facts)
    print(f"{machine['hardware']}; load {machine['load_before']:.1f} before; {setting}")
    for key in MEANING:
        each = [row[key] for row in rounds]
        spread = f"({min(each):.2f} to {max(each):.2f})"
        print(f"{key:<30}{statistics.median(each):>7.2f} {spread}: {MEANING[key]}")
    if arguments.output:
        whole = {"command": ["python", *sys.argv], **machine, **line, "each_round": rounds}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(whole, indent=1) + "\n")
    if arguments.append:
        with HISTORY.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
