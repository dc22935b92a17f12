"""Is a training healthy? Verdicts on the numbers of its log, each with the key to turn.

Takes `train_inner` entries, live (live.py) or from a log (`mgf health`), with the same verdict
either way; knows neither fairseq nor torch.

Entries are averaged to windows of at least 25 updates, so that `common.log_interval` does not
matter. The thresholds were set between these runs (4 layers of 128 or 192, 12 to 48 s of audio per
update, windows of 25 or 100 updates; pre-norm is `model.layer_norm_first=true`):

healthy: 26 runs of 200 to 2,400 updates: all objectives, one omitted, or frame alone; pre-norm at
    lr 1e-3 to 3e-3, post-norm at 1e-3; the quickstart's.
sick: A and B, post-norm, all objectives, lr 2e-3. C, pre-norm, lr 4e-3. D, pre-norm, lr 3e-3,
    weights 0.1, 1, 1, 0.1 (sample, frame, phoneme, utterance). E, post-norm, phoneme alone, 2e-3.

threshold               healthy runs                        sick runs
std below 15 % of its   0.27 of its start and 0.078 at      A 0.013, B 0.005, D 0.056, E 0.015
  start, or 0.05          least                               of its start
phoneme diversity 0.03  0.043 at least                      A 0.003, E 0.0001
utterance diversity     below it in two windows of a run    A and B 0.0000, D 0.001, for many
  0.008, not above        at most (0.003 at update 50; the    windows
  chance                  quickstart 0.005, 0.007 at 50, 75)
loss 2.2 x chance       1 window of 500 (2.66)              A 5.7, B 4.2, C 2.9, D 2.8
loss within 0.995 to    left it by update 150, 30 to 110    A 540 updates after warm-up, D 300,
  1.01 of chance          updates after warm-up               E 360
gnorm 3 x its median    1.63 at most                        A 33, C 3.1, D 3.5, E 6.4
accuracy 0.995          0.92 at most                        not seen
accuracy half of chance 2.2 x chance at least (14 runs      not seen
                          of 300 to 2,400 updates), 0.7
                          within the first 25 updates
data_wait 0.2           0.03 after the first window         0.27 to 0.41 with 0.3 s per read
                          (mgf_debug, 2 busy cores)           (mgf_debug)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .health_balance import SHARES, WEIGHTS, find_unbalanced
from .history import (
    PINNED,
    History,
    Values,
    Window,
    objectives,
    relative_to_chance,
)

STD_SHARE, STD_FLOOR = 0.15, 0.05
DIVERSITY_FLOOR = {"phoneme": 0.03, "utterance": 0.008}
WORSE_THAN_CHANCE = 2.2
GNORM_RATIO = 3.0
DATA_WAIT = 0.2

_CALM = "lower optimization.lr, or lengthen lr_scheduler.warmup_updates"


@dataclass(frozen=True)
class Verdict:
    """What is wrong, in words, and what to do about it."""

    kind: str  # collapse, worse than chance, pinned, dead, exploding, starved, nonfinite
    subject: str  # features, or the objective or number
    finding: str
    advice: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same verdict a window later."""
        return self.kind, self.subject

    def __str__(self) -> str:
        return f"{self.kind} ({self.subject}): {self.finding}. To fix it: {self.advice}."


class HealthMonitor(History):
    """Takes the entries of a log one by one and says what is wrong now."""

    def verdicts(self) -> list[Verdict]:
        """Everything that is wrong at the last window, the gravest first."""
        if not self.windows:
            return []
        return [verdict for rule in _RULES for verdict in rule(self)]

    @property
    def summed_by(self) -> str:
        """The setting that sums the objectives; factors are logged under shares alone."""
        values = self.windows[-1].values
        return SHARES if any(name.startswith("factor_") for name in values) else WEIGHTS


# ---- the rules: each takes the monitor, whose last window is now


def _nonfinite(monitor: HealthMonitor) -> Iterator[Verdict]:
    if monitor.windows[-1].values.get("nonfinite", 0.0) > 0.0:
        yield Verdict(
            "nonfinite",
            "nonfinite",
            "losses or gradients were NaN or infinite and were skipped",
            "see the warnings in the log, which name utterance and objective; remove such a file, "
            "compute in fp32 (task.autocast=none), or lower optimization.lr",
        )


def _collapsed_features(monitor: HealthMonitor) -> Iterator[Verdict]:
    assert monitor.first is not None
    now, start = monitor.windows[-1].values, monitor.first.values
    flat: list[str] = []
    for key in sorted(name for name in now if name.startswith("std_")):
        floor = max(STD_FLOOR, STD_SHARE * start.get(key, 0.0))
        if monitor.recurs(2, 3, lambda v, k=key, f=floor: v.get(k, math.inf) < f):  # type: ignore[misc]
            flat.append(key)
    if flat:
        least = min(flat, key=lambda key: now[key])
        yield Verdict(
            "collapse",
            "features",
            f"frames look alike: {least} is {now[least]:.3g}, "
            f"it started at {start.get(least, math.nan):.3g}",
            f"{_CALM}; a post-norm Transformer bears less: ++model.layer_norm_first=true",
        )


def _collapsed_vectors(monitor: HealthMonitor) -> Iterator[Verdict]:
    now = monitor.windows[-1].values
    for name in objectives(now):
        floor = DIVERSITY_FLOOR.get(name, min(DIVERSITY_FLOOR.values()))

        def is_bad(values: Values, name: str = name, floor: float = floor) -> bool:
            if f"{name}_diversity" not in values or f"loss_{name}" not in values:
                return False
            relative = relative_to_chance(values, name) or 0.0
            return values[f"{name}_diversity"] < floor and relative >= PINNED[0]

        if monitor.recurs(3, 4, is_bad):
            value = now.get(f"{name}_diversity", math.nan)
            yield Verdict(
                "collapse",
                f"{name}_diversity",
                f"the vectors that objective {name} compares all point one way "
                f"(diversity {value:.2g}), and it does no better than guessing",
                f"{_CALM}; or change {monitor.summed_by}.{name}: half or a tenth",
            )


def _worse_than_chance(monitor: HealthMonitor) -> Iterator[Verdict]:
    now = monitor.windows[-1].values
    for name in objectives(now):

        def is_bad(values: Values, name: str = name) -> bool:
            relative = relative_to_chance(values, name) if f"loss_{name}" in values else None
            return (relative or 0.0) > WORSE_THAN_CHANCE

        if monitor.recurs(3, 4, is_bad):
            yield Verdict(
                "worse than chance",
                name,
                f"loss_{name} is {relative_to_chance(now, name) or math.nan:.2g} times what "
                "guessing costs",
                f"{_CALM}; or lower {monitor.summed_by}.{name}",
            )


def _stuck(monitor: HealthMonitor) -> Iterator[Verdict]:
    now = monitor.windows[-1].values
    for name in objectives(now):
        loss = f"loss_{name} is {now[f'loss_{name}']:.4g}"
        if monitor.persists("pinned", name):
            yield Verdict(
                "pinned at chance",
                name,
                f"{loss}, what guessing costs, since update {monitor.since['pinned', name]}",
                f"{_CALM} if a std_ has fallen; else raise {monitor.summed_by}.{name}, or "
                "lower those of the objectives that outweigh it",
            )
        elif monitor.persists("zero", name):
            yield Verdict(
                "pinned at 0",
                name,
                f"{name}_accuracy is {now.get(f'{name}_accuracy', math.nan):.2g}, less than half "
                f"of what guessing gets, since update {monitor.since['zero', name]}",
                f"{_CALM}; or lower {monitor.summed_by}.{name}; or look whether the positives "
                f"of the objective (model.objectives.{name}) are what they should be",
            )
        elif monitor.persists("dead", name):
            yield Verdict(
                "dead",
                name,
                f"{loss} and has not moved since the start",
                f"raise {monitor.summed_by}.{name} (0 trains nothing), see that "
                f"model.objectives.{name}.level is a level that trains (model.feature_grad_mult "
                "above 0), or raise optimization.lr",
            )
        elif monitor.persists("easy", name):
            yield Verdict(
                "pinned at 1",
                name,
                f"{name}_accuracy is {now.get(f'{name}_accuracy', math.nan):.4g}: the task is too "
                "easy to teach anything",
                "more to distinguish: raise dataset.max_tokens, or negatives of the objective "
                f"(model.objectives.{name}); or lower {monitor.summed_by}.{name}",
            )


def _exploding(monitor: HealthMonitor) -> Iterator[Verdict]:
    norms = [w.values["gnorm"] for w in monitor.windows if "gnorm" in w.values]
    if len(norms) < 4 or not (usual := statistics.median(norms[:-1])) > 0.0:
        return
    if norms[-1] > GNORM_RATIO * usual:
        yield Verdict(
            "exploding gradient",
            "gnorm",
            f"gnorm is {norms[-1]:.3g}, usually {usual:.3g}",
            f"{_CALM}; optimization.clip_norm={2 * usual:.1g} would bound it",
        )


def _starved(monitor: HealthMonitor) -> Iterator[Verdict]:
    # The first window starts the workers.
    later = [w for w in list(monitor.windows)[-4:] if w is not monitor.first]
    waits = [w.values["data_wait"] for w in later if "data_wait" in w.values]
    if sum(wait > DATA_WAIT for wait in waits) >= 3:
        yield Verdict(
            "waiting for data",
            "data_wait",
            f"{100 * waits[-1]:.0f} % of the time goes into waiting for the next batch",
            "raise dataset.num_workers (up to the cores there are), keep the audio on a local "
            "disk at task.sample_rate, and see that workers do not share one core "
            "(OMP_NUM_THREADS=1)",
        )


def _unbalanced(monitor: HealthMonitor) -> Iterator[Verdict]:
    windows = [window.values for window in monitor.windows]
    for words in find_unbalanced(windows, monitor.summed_by):
        yield Verdict(*words)


_RULES: tuple[Callable[[HealthMonitor], Iterator[Verdict]], ...] = (
    _nonfinite,
    _collapsed_features,
    _collapsed_vectors,
    _worse_than_chance,
    _exploding,
    _stuck,
    _unbalanced,
    _starved,
)


@dataclass(frozen=True)
class Episode:
    """A verdict and the updates between which it held."""

    verdict: Verdict  # as first said
    begin: int
    end: int


@dataclass(frozen=True)
class Diagnosis:
    """What a whole log says."""

    now: list[Verdict]
    episodes: list[Episode]  # all there were, by their beginning
    windows: list[Window]


def diagnose(entries: Iterable[Values]) -> Diagnosis:
    """Read a log's entries in order: what is wrong at its end, and what was before."""
    monitor = HealthMonitor()
    open_: dict[tuple[str, str], Episode] = {}
    closed: list[Episode] = []
    windows: list[Window] = []
    for entry in entries:
        if not monitor.add(entry):
            continue
        windows.append(monitor.windows[-1])
        update = windows[-1].update
        standing = {verdict.key: verdict for verdict in monitor.verdicts()}
        closed += [open_.pop(key) for key in list(open_) if key not in standing]
        for key, verdict in standing.items():
            before = open_.get(key)
            open_[key] = (
                Episode(before.verdict, before.begin, update)
                if before
                else Episode(verdict, update, update)
            )
    episodes = sorted([*closed, *open_.values()], key=lambda episode: episode.begin)
    return Diagnosis(monitor.verdicts(), episodes, windows)
