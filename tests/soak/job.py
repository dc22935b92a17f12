"""The training under the soak: one command that is started again and again, and what it logs.

Between soak.py, which decides when, and the processes of ``fairseq-hydra-train``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import processes

from mgf_fairseq.host.ranks import free_port
from mgf_fairseq.host.training_process import override, training_command

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "pretrain" / "config" / "mgf_debug.yaml"
SAVE_EVERY, VALIDATE_EVERY = 20, 100  # updates
WORKERS = 2
GONE_WITHIN_S = 60  # all of a training's processes, once its ranks have ended
_NUMBERS = re.compile(r"\[train_inner\]\[INFO\] - (\{.*\})\s*$")
_PAIR = re.compile(r'"(\w+)": "?([^",}]*)')


@dataclass
class Life:
    """One start of the command: its processes, and what they have said so far."""

    number: int
    ranks: list[subprocess.Popen[bytes]]
    logs: list[Path]
    updates: dict[int, str] = field(default_factory=dict)  # update -> the numbers logged
    messages: list[str] = field(default_factory=list)  # every line that is no train_inner
    read: list[int] = field(default_factory=list)  # bytes of each log
    ended_at: float | None = None

    def poll(self) -> None:
        """Read what is new in the logs."""
        for rank, log in enumerate(self.logs):
            with log.open("rb") as file:
                file.seek(self.read[rank])
                new = file.read()
            whole = new.rfind(b"\n") + 1
            self.read[rank] += whole
            for line in new[:whole].decode(errors="replace").splitlines():
                self._take(line)
        if self.ended_at is None and all(rank.poll() is not None for rank in self.ranks):
            self.ended_at = time.monotonic()

    def _take(self, line: str) -> None:
        match = _NUMBERS.search(line)
        if match is None:
            self.messages.append(line[:500])
            return
        numbers = dict(_PAIR.findall(match[1]))
        update = int(numbers.get("num_updates", 0))
        self.updates[update] = " ".join(
            f"{name}={value}"
            for name, value in numbers.items()
            if name in ("epoch", "gnorm", "lr") or name.startswith("loss")
        )

    @property
    def last_update(self) -> int:
        return max(self.updates, default=0)

    @property
    def first_update(self) -> int:
        return min(self.updates, default=0)

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def exit_codes(self) -> list[int]:
        return [code for rank in self.ranks if (code := rank.poll()) is not None]

    def said(self, pattern: str, since: int = 0) -> str | None:
        """The first line from message `since` on that holds the pattern, without its time."""
        for line in self.messages[since:]:
            if re.search(pattern, line):
                return line.rpartition("] - ")[2].strip()
        return None

    def count(self, words: str) -> int:
        """How many lines hold these words."""
        return sum(words in line for line in self.messages)

    def workers(self, rank: int) -> list[int]:
        return processes.forks(self.ranks[rank].pid)

    def left_over(self) -> list[int]:
        """Processes that outlive the ranks which started them."""
        return [pid for rank in self.ranks for pid in processes.of_session(rank.pid)]

    def signal_all(self, number: int) -> None:
        """Send a signal to every process, as SLURM does."""
        for rank in self.ranks:
            try:
                os.killpg(rank.pid, number)
            except ProcessLookupError:
                continue

    def destroy(self) -> None:
        """End whatever is left, so that the next life begins clean."""
        for pid in self.left_over():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for rank in self.ranks:
            rank.wait()


@dataclass(frozen=True)
class Job:
    """The command, which is the same at every start but for the port where ranks meet."""

    data: Path
    save_dir: Path
    logs: Path
    ranks: int

    def start(self, number: int) -> Life:
        """Start it, each rank in a session of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        port = free_port()
        life = Life(number, [], [], read=[0] * self.ranks)
        for rank in range(self.ranks):
            log = self.logs / f"life{number:03d}.rank{rank}.log"
            command = self.command(rank, port)
            command[0] = str(Path(sys.executable).with_name(command[0]))
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    command,
                    env=_environment(self.logs),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            life.ranks.append(process)
            life.logs.append(log)
        return life

    def command(self, rank: int, port: int) -> list[str]:
        """What a person would type."""
        values: dict[str, object] = {
            "task.data": self.data,
            "checkpoint.save_dir": self.save_dir,
            "checkpoint.save_interval_updates": SAVE_EVERY,
            "checkpoint.keep_interval_updates": 2,
            "common.log_interval": 1,
            "dataset.max_tokens": 96000,
            "dataset.num_workers": WORKERS,
            "dataset.validate_interval_updates": VALIDATE_EVERY,
            "optimization.max_update": 10_000_000,
            "hydra.run.dir": self.logs / f"rank{rank}",
        }
        if self.ranks > 1:
            prefix = "distributed_training.distributed_"
            values |= {
                f"{prefix}world_size": self.ranks,
                f"{prefix}init_method": f"tcp://127.0.0.1:{port}",
                f"{prefix}no_spawn": True,
                f"{prefix}backend": "gloo",
                f"{prefix}rank": rank,
                "distributed_training.ddp_backend": "legacy_ddp",
            }
        return training_command(RECIPE, [override(key, value) for key, value in values.items()])


def _environment(folder: Path) -> Mapping[str, str]:
    """One thread a process, and temporary files where the soak can count them.

    What is freed goes back to the system at once, so that resident memory is memory held: glibc's
    heap otherwise fragments for hours, which would hide a leak.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    polite = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}
    strict = {"MALLOC_MMAP_THRESHOLD_": "32768", "MALLOC_TRIM_THRESHOLD_": "65536"}
    own = {"HYDRA_FULL_ERROR": "1", "TMPDIR": str(temporary)}
    return {**os.environ, **polite, **strict, **own}
