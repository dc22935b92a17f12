"""Trainings as processes of their own that tests may kill, forked where fairseq is imported.

Run as a script it is the server, which imports fairseq once and forks a ``fairseq-hydra-train``
for each request; imported, it is the client. Importing fairseq anew for each would take minutes.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mgf_fairseq.host.ranks import free_port


@dataclass
class Training:
    """A training that has been started."""

    server: Trainings
    pid: int  # and number of its process group, with its workers
    log: Path

    def wait_for(self, pattern: str, seconds: float = 120) -> None:
        """Wait until its output holds the pattern."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.output()):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.output()[-3000:]}"
            time.sleep(0.02)

    def exit_code(self, within_s: float = 300) -> int:
        """Wait for its end; a signal that ended it counts negative, and so it is killed if late."""
        return os.waitstatus_to_exitcode(self.server.ask(wait=self.pid, seconds=within_s))

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def updates(self) -> dict[int, tuple[str, ...]]:
        """What it has logged: number of the update -> epoch, losses, gradient norm."""
        lines = re.findall(r"\[train_inner\]\[INFO\] - (\{.*\})", self.output())
        return {
            int(entry["num_updates"]): tuple(
                f"{name} {value}"
                for name, value in entry.items()
                if name in ("epoch", "gnorm", "lr") or name.startswith("loss")
            )
            for entry in map(json.loads, lines)
        }


class Trainings:
    """The client: starts the server, and trainings in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )

    def ask(self, **request: Any) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(
        self,
        arguments: list[str],
        largest_file: int | None = None,
        environment: dict[str, str] | None = None,
        sabotage: str = "",
        folder: Path | None = None,
    ) -> Training:
        """Start ``fairseq-hydra-train`` with these arguments.

        A file beyond ``largest_file`` bytes fails as on a full disk. ``sabotage`` names what goes
        wrong in it (sabotage.py). ``folder`` is its working directory.
        """
        self.count += 1
        log = self.folder / f"training{self.count}.log"
        pid = self.ask(
            arguments=arguments,
            log=str(log),
            largest_file=largest_file,
            environment=environment or {},
            sabotage=sabotage,
            folder=str(folder or self.folder),
        )
        return Training(self, pid, log)

    def start_ranks(
        self,
        number: int,
        arguments: list[str],
        sabotage: Mapping[int, str] | None = None,
        own: Mapping[int, list[str]] | None = None,
    ) -> list[Training]:
        """Start so many ranks as torchrun does; some may be sabotaged, or get arguments of own."""
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        return [
            self.start(
                [*arguments, *(own or {}).get(rank, [])],
                environment={**meet, "WORLD_SIZE": str(number), "RANK": str(rank)},
                sabotage=(sabotage or {}).get(rank, ""),
            )
            for rank in range(number)
        ]

    def stop(self) -> None:
        """End the server by a word: a child that tests have forked may hold the pipe open."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"quit": True}) + "\n")
        self.process.stdin.close()
        self.process.wait(timeout=60)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoint_last.pt", weights_only=True)
    assert isinstance(state["model"], dict)
    return state["model"]


def end_of(pid: int, seconds: float) -> int:
    """Wait for a process to end, and kill it with its children if it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def serve() -> None:
    """Answer requests, one JSON object per line, with one number each; only a fork returns."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "quit" in request:
            break
        if "wait" in request:
            print(end_of(request["wait"], request["seconds"]), flush=True)
            continue
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if request["largest_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        if request["sabotage"]:
            getattr(sabotage, request["sabotage"])()
        sys.argv = ["fairseq-hydra-train", *request["arguments"]]
        return
    os._exit(0)  # nothing is to be tidied up, and what libraries do at exit may hang


if __name__ == "__main__":
    import sabotage
    import torch._dynamo  # which DDP imports, a second for each
    from fairseq_cli.hydra_train import cli_main

    serve()
    cli_main()
