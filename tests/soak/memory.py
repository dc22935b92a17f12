"""Resident memory of a training over its lives, and whether it is flat.

soak.py samples it while it watches; table.py prints the verdict.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import processes
from job import WORKERS, Life

SAMPLE_EVERY_S = 2.0
MIN_SAMPLES = 10
# Caches, pools and buffers fill at the beginning of a life, so it is skipped: this many seconds, or
# the first half of a life shorter than twice that.
SETTLING_S = 300.0
# What a process may grow by after that, within one life: so much an hour, or what the ups and downs
# of an allocator come to, if that is more. A life of minutes can only show a gross leak.
MB_PER_HOUR = 12.0
NOISE_MB, NOISE_MB_UNSETTLED = 8.0, 48.0


@dataclass(frozen=True)
class Sample:
    """One look at one kind of process of one life."""

    life: int  # a number of its own for each rank
    seconds: float  # since the soak began
    kind: str  # "trainer" or "workers"
    mb: float


@dataclass(frozen=True)
class Growth:
    """How one kind of process has grown, in the longest life that was seen of it."""

    kind: str
    minutes: float  # of that life, after settling
    first_mb: float
    last_mb: float
    mb_per_hour: float  # least squares
    allowed_mb: float

    @property
    def grown_mb(self) -> float:
        return self.mb_per_hour * self.minutes / 60

    @property
    def flat(self) -> bool:
        return self.grown_mb <= self.allowed_mb

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "grown_mb": self.grown_mb, "flat": self.flat}


class Scale:
    """Weighs the processes of whatever life runs, every `SAMPLE_EVERY_S`."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def weigh(self, life: Life, now: float) -> None:
        """Take a sample of each process, if it is time and the training trains."""
        if self.samples and now - self.samples[-1].seconds < SAMPLE_EVERY_S:
            return
        if not life.updates or life.ended:
            return
        for rank, process in enumerate(life.ranks):
            number = life.number * len(life.ranks) + rank
            # The oldest forks are training's; those of validation come and go.
            workers = processes.forks(process.pid)[:WORKERS]
            for kind, pids in (("trainer", [process.pid]), ("workers", workers)):
                sizes = [processes.resident_mb(pid) for pid in pids]
                known = [size for size in sizes if size is not None]
                if known and len(known) == len(sizes):
                    self.samples.append(Sample(number, now, kind, sum(known)))

    def write(self, path: Path) -> None:
        """Write all samples as a CSV file."""
        rows = [f"{s.life},{s.kind},{s.seconds:.0f},{s.mb:.1f}\n" for s in self.samples]
        path.write_text("life,kind,seconds,mb\n" + "".join(rows), encoding="utf-8")


def growths(samples: list[Sample]) -> list[Growth]:
    """One Growth per kind of process, of the life with the longest series of samples."""
    found = []
    for kind in dict.fromkeys(sample.kind for sample in samples):
        series: dict[int, list[Sample]] = {}
        for sample in samples:
            if sample.kind == kind:
                series.setdefault(sample.life, []).append(sample)
        longest = max(series.values(), key=_seconds)
        left_out = min(SETTLING_S, _seconds(longest) / 2)
        settled = [s for s in longest if s.seconds - longest[0].seconds >= left_out]
        if len(settled) >= MIN_SAMPLES:
            noise = NOISE_MB if left_out == SETTLING_S else NOISE_MB_UNSETTLED
            found.append(_growth(kind, settled, noise))
    return found


def _seconds(life: list[Sample]) -> float:
    return life[-1].seconds - life[0].seconds


def _growth(kind: str, settled: list[Sample], noise: float) -> Growth:
    hours = np.array([sample.seconds for sample in settled]) / 3600
    mb = np.array([sample.mb for sample in settled])
    slope, start = np.polyfit(hours - hours[0], mb, 1)
    span = float(hours[-1] - hours[0])
    return Growth(
        kind=kind,
        minutes=span * 60,
        first_mb=float(start),
        last_mb=float(start + slope * span),
        mb_per_hour=float(slope),
        allowed_mb=max(noise, MB_PER_HOUR * span),
    )
