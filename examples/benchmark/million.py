"""A manifest of a million lines: seconds to the first batch, and memory of each loader process.

Writes the lines, with few files behind them, and loads them as training does: the task, fairseq's
batches of an epoch, and worker processes. `README.md` explains the numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from loading import quiet_folder, train_iterator, worker_pids

from mgf_fairseq.data.config import MgfPretrainingConfig
from mgf_fairseq.data.manifest import read_manifest
from mgf_fairseq.task import MgfPretrainingTask

RATE = 16_000
SPEAKERS = 1000  # folders, all of them links to one
FILES = 1000  # names in that folder, all of them links to one file


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batches", type=int, default=200, help="to read before looking at memory")
    parser.add_argument("--max-tokens", type=int, default=1_400_000, help="samples per batch")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args()


def write_lines(folder: Path, lines: int) -> None:
    """Write train.tsv; lengths say 2 to 16 s, and each file is cut short of what it is."""
    pool = folder / "audio" / "pool"
    pool.mkdir(parents=True)
    rng = np.random.default_rng(1)
    counts = rng.integers(2 * RATE, 16 * RATE, FILES)
    for number, count in enumerate(counts.tolist()):
        # Sparse files of silence cost no disk; reading them costs as much as any.
        soundfile.write(pool / f"utterance-{number:06d}.wav", np.zeros(1), RATE)
        header = (pool / f"utterance-{number:06d}.wav").read_bytes()[:44]
        size = 2 * count
        sized = header[:4] + (36 + size).to_bytes(4, "little") + header[8:40]
        with open(pool / f"utterance-{number:06d}.wav", "wb") as stream:
            stream.write(sized + size.to_bytes(4, "little"))
            stream.truncate(44 + size)
    for number in range(SPEAKERS):
        (folder / "audio" / f"speaker-{number:04d}").symlink_to("pool")
    with open(folder / "train.tsv", "w") as stream:
        stream.write(f"{folder / 'audio'}\n")
        for number in range(lines):
            speaker, file = number // FILES % SPEAKERS, number % FILES
            stream.write(f"speaker-{speaker:04d}/utterance-{file:06d}.wav\t{counts[file]}\n")


def memory_mb(pid: int | str = "self") -> dict[str, float]:
    """Resident and private (unique) MB of a process, and its share of what is shared."""
    fields = {"Rss": 0.0, "Pss": 0.0, "Private_Clean": 0.0, "Private_Dirty": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = int(rest.split()[0]) / 1024
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss": fields["Rss"], "pss": fields["Pss"], "private": private}


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Note seconds under a name."""
    began = time.perf_counter()
    yield
    into[name] = round(time.perf_counter() - began, 2)


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Load as training does, and look at clock and memory on the way."""
    seconds: dict[str, float] = {}
    memory = {"start": memory_mb()}
    with timed(seconds, "read_manifest"):
        manifest = read_manifest(folder / "train.tsv")
    memory["manifest"] = memory_mb()
    del manifest
    task = MgfPretrainingTask.setup_task(MgfPretrainingConfig(data=str(folder), seed=1))
    with timed(seconds, "load_dataset"):
        task.load_dataset("train")
    memory["dataset"] = memory_mb()
    with timed(seconds, "batches of an epoch"):
        iterator = train_iterator(task, arguments, arguments.workers)
        batches = len(iterator)
    memory["batches"] = memory_mb()
    with timed(seconds, "shuffle"):
        loader = iterator.next_epoch_itr(shuffle=True)
    with timed(seconds, "first batch"):
        next(loader)
    workers = worker_pids()
    at_first = [memory_mb(pid) for pid in workers]
    more = min(arguments.batches, batches - 1)
    with timed(seconds, f"{more} more batches"):
        for _ in range(more):
            next(loader)
    memory["main at the end"] = memory_mb()
    return {
        "lines": arguments.lines,
        "file_mb": (folder / "train.tsv").stat().st_size / 2**20,
        "batches": batches,
        "seconds": seconds,
        "main_mb": memory,
        "workers_mb_at_first": at_first,
        "workers_mb": [memory_mb(pid) for pid in workers],
    }


def main() -> None:
    """Write, measure, print."""
    arguments = parse_arguments()
    with quiet_folder(arguments.folder) as folder:
        write_lines(folder, arguments.lines)
        found = measure(folder, arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['lines']} lines, {found['file_mb']:.1f} MB, {found['batches']} batches")
    for what, seconds in found["seconds"].items():
        print(f"  {seconds:6.2f} s  {what}")
    print("MB, private (of its own) and proportional (with its share of what is shared):")
    for who, memory in found["main_mb"].items():
        print(f"  {memory['private']:6.1f}  {memory['pss']:6.1f}  main process, {who}")
    for when in ("workers_mb_at_first", "workers_mb"):
        for memory in found[when]:
            print(f"  {memory['private']:6.1f}  {memory['pss']:6.1f}  {when.replace('_mb', '')}")


if __name__ == "__main__":
    main()
