"""Run a grid of pre-trainings with their evaluations, and make one report of it.

A grid is a YAML file (ablation.yaml, levels.yaml): rows with overrides and seeds. The same command
resumes where it stopped: trainings resume, finished evaluations are skipped. SIGTERM and
Ctrl-C end all that it has started.

    python examples/evaluate/grid.py examples/evaluate/ablation.yaml --data DATA --dest OUT
"""

from __future__ import annotations

import argparse
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tqdm import tqdm

from mgf_fairseq.extract.baselines import ACOUSTIC
from mgf_fairseq.host.training_process import override, run_training, training_command
from mgf_fairseq.utils.package import config_dir
from mgf_fairseq.utils.processes import Children
from mgf_fairseq.utils.processor import cores

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"config", "overrides", "tasks", "rows", "baselines", "report_baseline"}
ROW_KEYS = {"overrides", "seeds", "tasks"}


@dataclass(frozen=True)
class Row:
    """A line of the table: overrides beside the grid's own, once per pre-training seed."""

    name: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """What a YAML file asks for."""

    config: str  # a primary configuration of mgf_fairseq/configs/pretrain
    overrides: tuple[str, ...]
    rows: tuple[Row, ...]
    baselines: tuple[tuple[str, tuple[str, ...]], ...]  # (fbank, mfcc or random:ROW, tasks)
    report_baseline: str | None  # the row that differences are taken against

    @property
    def max_update(self) -> int:
        """Updates of one pre-training."""
        key = "optimization.max_update="
        return int(next(o for o in self.overrides if o.startswith(key)).removeprefix(key))


def read_grid(path: Path) -> Grid:
    """Read a grid; a key that nobody knows, or a baseline of no row, raises ValueError."""
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    _refuse_unknown(path, content, KEYS)
    tasks = tuple(content["tasks"])
    rows = []
    for name, values in content["rows"].items():
        _refuse_unknown(f"{path}: rows.{name}", values, ROW_KEYS)
        rows.append(
            Row(
                name,
                tuple(values.get("overrides", ())),
                tuple(values.get("seeds", (1,))),
                tuple(values.get("tasks", tasks)),
            )
        )
    baselines = tuple((name, tuple(of or tasks)) for name, of in content["baselines"].items())
    for name, _ in baselines:
        if name.startswith("random:") and name.removeprefix("random:") not in content["rows"]:
            raise ValueError(f"{path}: {name} names no row; there are {', '.join(content['rows'])}")
    overrides = tuple(content["overrides"])
    if not any(o.startswith("optimization.max_update=") for o in overrides):
        raise ValueError(f"{path}: overrides must hold optimization.max_update=N")
    return Grid(
        content["config"], overrides, tuple(rows), baselines, content.get("report_baseline")
    )


def _refuse_unknown(where: object, values: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where} has unknown keys {unknown}; there are {sorted(known)}")


class Runner:
    """Runs the grid's commands on a number of slots, each with its share of the machine."""

    def __init__(self, grid: Grid, args: argparse.Namespace, children: Children) -> None:
        self.grid, self.args, self.children = grid, args, children
        self.dest: Path = args.dest.resolve()
        self.failed = threading.Event()
        self.slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        devices = args.devices or [None] * args.jobs
        threads = str(max(1, cores() // len(devices)))
        for device in devices:
            shown = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
            self.slots.put({"OMP_NUM_THREADS": threads, **shown})
        self.num_slots = len(devices)

    @contextmanager
    def slot(self, what: str) -> Iterator[dict[str, str]]:
        """Wait for a slot and give its variables; nothing new begins after a failure."""
        variables = self.slots.get()
        try:
            if self.failed.is_set():
                raise ValueError(f"{what}: not begun, since another one failed")
            yield variables
        except Exception:
            self.failed.set()
            raise
        finally:
            self.slots.put(variables)

    def checkpoint(self, row: Row) -> Path:
        """What the row's first seed leaves."""
        return self.dest / "pretrain" / f"{row.name}-seed{row.seeds[0]}" / "checkpoint_last.pt"

    def pretrain(self, row: Row, seed: int) -> Path:
        """Pre-train one row with one seed, unless that is done; return its checkpoint."""
        name = f"{row.name}-seed{seed}"
        run = self.dest / "pretrain" / name
        command = training_command(
            config_dir("pretrain") / f"{self.grid.config}.yaml",
            [
                override("task.data", self.args.data.resolve()),
                override("checkpoint.save_dir", run),
                override("common.seed", seed),
                *self.grid.overrides,
                *self.args.override,
                *row.overrides,
            ],
        )
        begun, done, asked = run / "command", run / "done", shlex.join(command)
        if begun.exists() and begun.read_text() != asked:
            raise ValueError(
                f"{run} was begun by another command (see {begun}); choose another --dest or "
                "remove that folder"
            )
        if not done.exists():
            with self.slot(name) as variables:
                run.mkdir(parents=True, exist_ok=True)
                begun.write_text(asked)
                updates = self.grid.max_update
                shown, start = {"loss": "loss"}, self.children.start
                run_training(command, run, updates, shown, name, ROOT, variables, start)
                done.touch()
        return run / "checkpoint_last.pt"

    def evaluate(self, upstream: str, name: str, group: str, tasks: Sequence[str]) -> None:
        """Evaluate one representation; `mgf evaluate` itself skips finished results."""
        words = [
            "mgf", "evaluate", "--checkpoint", upstream, "--name", name, "--group", group,
            "--data", str(self.args.data.resolve()), "--tasks", ",".join(tasks),
            "--dest", str(self.dest / "results"), *shlex.split(self.args.evaluate_options),
        ]  # fmt: skip
        if upstream in ACOUSTIC and "asr" in tasks:
            words += ["--asr-shape", str(self.checkpoint(self.grid.rows[0]))]
        if self.args.emotion_data and "emotion" in tasks:
            words += ["--emotion-data", str(self.args.emotion_data.resolve())]
        log = self.dest / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self.slot(name) as variables, log.open("a") as console:
            console.write(f"$ {shlex.join(words)}\n")
            console.flush()
            environment = {**os.environ, **variables}
            code = self.children.start(
                words, cwd=ROOT, env=environment, stdout=console, stderr=console
            ).wait()
        if code:
            self.failed.set()
            end = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-8:])
            raise ValueError(f"the evaluation of {name} failed; the end of {log}:\n{end}")
        tqdm.write(f"evaluated {name}: {', '.join(tasks)}")

    def run(self) -> None:
        """Run all rows, then the baselines, side by side as far as there are slots."""

        def trained(row: Row, seed: int) -> None:
            checkpoint = self.pretrain(row, seed)
            self.evaluate(str(checkpoint), f"{row.name}-seed{seed}", row.name, row.tasks)

        def baseline(spec: str, tasks: Sequence[str]) -> None:
            kind, _, of = spec.partition(":")
            if of:
                row = next(row for row in self.grid.rows if row.name == of)
                spec = f"random:{self.checkpoint(row)}"
            self.evaluate(spec, kind, kind, tasks)

        self._side_by_side(trained, [(row, seed) for row in self.grid.rows for seed in row.seeds])
        self._side_by_side(baseline, self.grid.baselines)

    def _side_by_side(self, job: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
        with ThreadPoolExecutor(max_workers=self.num_slots) as pool:
            try:
                for future in as_completed([pool.submit(job, *values) for values in arguments]):
                    future.result()
            except BaseException:
                self.failed.set()
                raise


def main() -> None:
    """Read the grid, run it, make the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path, help="a grid: ablation.yaml, levels.yaml, your own")
    parser.add_argument("--data", type=Path, required=True, help="folder of `mgf prepare`")
    parser.add_argument("--emotion-data", type=Path, help="another such folder, with emotions")
    parser.add_argument("--dest", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (1)")
    parser.add_argument(
        "--devices", type=lambda text: text.split(","), help="GPUs, one run each, as in 0,1,2,3"
    )
    parser.add_argument(
        "--override", action="append", default=[], help="one more for every pre-training"
    )
    parser.add_argument("--evaluate-options", default="", help="more words for `mgf evaluate`")
    args = parser.parse_args()
    grid = read_grid(args.grid)
    with Children() as children:
        Runner(grid, args, children).run()
    dest = args.dest.resolve()
    words = ["mgf", "report", str(dest / "results"), "--dest", str(dest / "report")]
    if grid.report_baseline:
        words += ["--against", grid.report_baseline]
    subprocess.run(words, check=True, cwd=ROOT)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"grid: {error}")
    except KeyboardInterrupt:
        sys.exit("\ngrid: interrupted; the same command resumes here")
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:
            print("grid: ended by SIGTERM; the same command resumes here", file=sys.stderr)
        raise
