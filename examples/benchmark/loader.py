"""What the loader delivers, beside a plain sequential read of the same files, per format.

The loader is the one of training: crops by seeking, normalized, collated, through fairseq's
iterator and worker processes. `README.md` explains the numbers.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from loading import quiet_folder, train_iterator, worker_pids

from mgf_fairseq.data.audio import AudioReader
from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.data.manifest import read_manifest, write_manifest
from mgf_fairseq.prepare.shards import ShardOptions, shard
from mgf_fairseq.task import MgfPretrainingTask
from mgf_fairseq.utils.processor import cores

RATE = 16_000
LINES = 5_000  # of a manifest
SUBTYPES = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


@dataclass(frozen=True)
class Speed:
    """Seconds of audio per second on the clock, and per second of processors."""

    wall: float
    cpu: float


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--formats", default="wav,flac,opus", help=f"of {','.join(SUBTYPES)}")
    parser.add_argument("--workers", default="0,1,2,4", help="processes of the loader")
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--file-seconds", type=float, default=12.0)
    parser.add_argument("--manifest", type=Path, help="take real speech from here")
    parser.add_argument("--rounds", type=int, default=3, help="in which each has its turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, at least")
    parser.add_argument("--max-tokens", type=int, default=1_400_000, help="samples per batch")
    parser.add_argument("--cache", default="none", help="task.cache; filled before it is measured")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    unknown = set(arguments.formats.split(",")) - set(SUBTYPES)
    if unknown:
        parser.error(f"--formats {','.join(sorted(unknown))}: choose from {','.join(SUBTYPES)}")
    return arguments


def waveforms(arguments: argparse.Namespace) -> list[np.ndarray]:
    """Speech of a manifest, or what costs a decoder about as much, cut to equal lengths."""
    length = round(arguments.file_seconds * RATE)
    if arguments.manifest:
        manifest = read_manifest(arguments.manifest)
        parts, found = [], 0
        for row in range(len(manifest)):
            with AudioReader(manifest.entry(row), RATE) as reader:
                parts.append(reader.read())
            found += len(parts[-1])
            if found >= length * arguments.files:
                break
        whole = np.concatenate(parts)
        return [whole[n * length : (n + 1) * length] for n in range(found // length)]
    rng = np.random.default_rng(1)
    time_ = np.arange(length) / RATE
    found_ = []
    for _ in range(arguments.files):
        phase = 2 * np.pi * rng.uniform(90, 220) * (time_ + 0.01 * np.sin(5 * time_))
        voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase) for k in range(1, 9))
        envelope = 0.55 + 0.45 * np.sin(rng.uniform(15, 30) * time_)
        noise = 0.01 * rng.standard_normal(length)
        found_.append((0.1 * envelope * voice + noise).astype(np.float32))
    return found_


def write_files(folder: Path, waves: list[np.ndarray], name: str) -> None:
    """Write the waveforms in a format, with a manifest, and pack them."""
    container, subtype = SUBTYPES[name]
    audio = folder / name / "audio"
    audio.mkdir(parents=True)
    rows = []
    for number, wave in enumerate(waves):
        path = audio / f"{number:04d}.{name}"
        with soundfile.SoundFile(path, "w", RATE, 1, subtype, format=container) as stream:
            for start in range(0, len(wave), RATE):  # libsndfile's Opus fails on long writes
                stream.write(wave[start : start + RATE])
        rows.append((path.name, len(wave)))
    # Named again and again, so that no epoch ends within a measurement.
    write_manifest(folder / name / "train.tsv", audio, rows * (1 + LINES // len(rows)))
    shard(ShardOptions(folder / name, folder / f"{name} in zip"))


def read_sequentially(folder: Path, at_least: float) -> Speed:
    """Read every file from its first sample to its last with soundfile, over and over."""
    paths = sorted((folder / "audio").iterdir())
    began, began_cpu, audio = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < at_least:
        for path in paths:
            audio += len(soundfile.read(path, dtype="float32")[0])
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    return Speed(audio / RATE / wall, audio / RATE / cpu)


def read_through_loader(
    folder: Path, workers: int, arguments: argparse.Namespace, at_least: float
) -> Speed:
    """Read batches as training does; starting the workers is not counted."""
    config = MgfPretrainingConfig(
        data=str(folder), seed=1, max_sample_size=5 * RATE, cache=arguments.cache
    )
    task = MgfPretrainingTask.setup_task(config)
    task.load_dataset("train")
    if arguments.cache != "none":
        for line in range(len(task.dataset("train"))):
            task.dataset("train")[line]
    iterator = train_iterator(task, arguments, workers)
    earlier = set(worker_pids())
    batches = _batches(iterator)
    for _ in range(2 * workers + 2):  # all workers run, and what they had time to prepare is gone
        next(batches)
    pids = [pid for pid in worker_pids() if pid not in earlier]
    began, began_cpu, audio = time.perf_counter(), _cpu_seconds(pids), 0
    while time.perf_counter() - began < at_least:
        audio += int((~next(batches)["net_input"]["padding_mask"]).sum())
    wall, cpu = time.perf_counter() - began, _cpu_seconds(pids) - began_cpu
    del batches, iterator
    gc.collect()  # ends its workers, before others are forked
    return Speed(audio / RATE / wall, audio / RATE / cpu)


def _batches(iterator: Any) -> Iterator[dict[str, Any]]:
    while True:
        yield from iterator.next_epoch_itr(shuffle=True)


def _cpu_seconds(pids: list[int]) -> float:
    """Seconds of processors that this process and the named ones have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, list[Speed]]]:
    """Let all take turns; format -> who -> one speed per round."""
    names = arguments.formats.split(",")
    workers = [int(number) for number in arguments.workers.split(",")]
    found: dict[str, dict[str, list[Speed]]] = {name: {} for name in names}
    for number in range(arguments.rounds):
        for name in names:
            speeds = found[name]
            plain = read_sequentially(folder / name, arguments.seconds)
            speeds.setdefault("sequential", []).append(plain)
            for place in (name, f"{name} in zip"):
                for count in workers:
                    who = f"{'files' if place == name else 'zip'}, {count} workers"
                    speed = read_through_loader(folder / place, count, arguments, arguments.seconds)
                    speeds.setdefault(who, []).append(speed)
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
    return found


def table(found: dict[str, dict[str, list[Speed]]]) -> list[str]:
    """Lay out medians over rounds; ratios are taken within a round."""
    lines = [
        "| format | read by | audio-s per s | of sequential | the same per processor second |",
        "|---|---|---|---|---|",
    ]
    for name, speeds in found.items():
        plain = speeds["sequential"]
        for who, rounds in speeds.items():
            wall = [a.wall / b.wall for a, b in zip(rounds, plain, strict=True)]
            cpu = [a.cpu / b.cpu for a, b in zip(rounds, plain, strict=True)]
            speed = statistics.median(speed.wall for speed in rounds)
            lines.append(
                f"| {name} | {who} | {speed:.0f} | {statistics.median(wall):.2f} "
                f"({min(wall):.2f} to {max(wall):.2f}) | {statistics.median(cpu):.2f} |"
            )
    return lines


def main() -> None:
    """Write, measure, print."""
    arguments = parse_arguments()
    with quiet_folder(arguments.folder) as folder:
        waves = waveforms(arguments)
        for one in arguments.formats.split(","):
            write_files(folder, waves, one)
        found = measure(folder, arguments)
    print(f"python {shlex.join(sys.argv)}")
    print(f"{cores()} processors, load {os.getloadavg()[0]:.1f}, {len(waves)} files")
    for line in table(found):
        print(line)
    if arguments.output:
        plain = {
            form: {who: [vars(speed) for speed in rounds] for who, rounds in speeds.items()}
            for form, speeds in found.items()
        }
        arguments.output.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
