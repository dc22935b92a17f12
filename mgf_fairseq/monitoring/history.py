"""The numbers of a training's log, averaged to windows, and for how long a state has lasted.

health.py judges them by its rules, and lists the runs that all thresholds were set between.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WINDOW = 25  # updates
HISTORY = 20  # windows that the median of gnorm is taken over
PATIENCE = 200  # updates after warm-up, or as many as warm-up took if that is more

PINNED = (0.995, 1.01)
TOO_EASY = 0.995
BELOW_CHANCE = 0.5
DEAD = 0.02  # of its first value

Values = Mapping[str, float]


@dataclass(frozen=True)
class Window:
    """Means over at least WINDOW updates."""

    update: int  # its last
    length: int  # updates
    values: dict[str, float]


class History:
    """The latest windows of a log, whose entries are added one by one."""

    def __init__(self) -> None:
        self.windows: deque[Window] = deque(maxlen=HISTORY + 1)
        self.first: Window | None = None
        self.warm = 0  # the update at which the learning rate last rose
        self.since: dict[tuple[str, str], int] = {}  # (kind, objective) -> true from this update on
        self._seen = 0
        self._peak = -math.inf
        self._pending: list[tuple[int, Values]] = []

    def add(self, entry: Values) -> bool:
        """Take the numbers of one entry; True where they complete a window.

        An entry without `num_updates`, or of an update that was seen, changes nothing.
        """
        update = int(entry.get("num_updates", 0))
        if update <= self._seen:
            return False
        self._pending.append((update - self._seen, entry))
        self._seen = update
        if sum(length for length, _ in self._pending) < WINDOW:
            return False
        window = _mean(update, self._pending)
        self._pending = []
        self.windows.append(window)
        self.first = self.first or window
        rate = window.values.get("lr", 0.0)
        if rate > self._peak:
            self._peak, self.warm = rate, update
        self._hold(window)
        return True

    def recurs(self, times: int, of: int, is_bad: Callable[[Values], bool]) -> bool:
        """Whether `times` of the last `of` windows are bad."""
        return sum(is_bad(window.values) for window in list(self.windows)[-of:]) >= times

    def persists(self, kind: str, name: str) -> bool:
        """Whether something has been true for too long, warm-up not counted."""
        start = self.since.get((kind, name))
        if start is None:
            return False
        return self.windows[-1].update - max(start, self.warm) >= max(PATIENCE, self.warm)

    def _hold(self, window: Window) -> None:
        """Note since when each objective has been in a state that should not last."""
        for name in objectives(window.values):
            first = (self.first or window).values.get(f"loss_{name}", math.nan)
            loss, relative = window.values[f"loss_{name}"], relative_to_chance(window.values, name)
            states = {
                "pinned": relative is not None and PINNED[0] <= relative <= PINNED[1],
                "easy": window.values.get(f"{name}_accuracy", 0.0) >= TOO_EASY,
                "zero": window.values.get(f"{name}_accuracy", math.inf)
                < BELOW_CHANCE * window.values.get(f"{name}_chance", 0.0),
                # Guessing has the rule above; a contrastive loss may leave it slowly.
                "dead": relative is None and abs(loss - first) <= DEAD * abs(first),
            }
            for kind, true in states.items():
                if true:
                    self.since.setdefault((kind, name), window.update - window.length)
                else:
                    self.since.pop((kind, name), None)


def _mean(update: int, entries: list[tuple[int, Values]]) -> Window:
    """Average each number over the entries that hold it, weighted by their updates."""
    names = {name for _, entry in entries for name in entry}
    values = {}
    for name in names:
        parts = [(length, entry[name]) for length, entry in entries if name in entry]
        values[name] = sum(n * value for n, value in parts) / sum(n for n, _ in parts)
    return Window(update, sum(length for length, _ in entries), values)


def objectives(values: Values) -> list[str]:
    """Names of the objectives with a loss; fairseq's own `loss_0` and its like are none."""
    names = (key.removeprefix("loss_") for key in values if key.startswith("loss_"))
    return sorted(name for name in names if name.isidentifier())


def relative_to_chance(values: Values, name: str) -> float | None:
    """Contrastive loss as a multiple of what guessing costs.

    That is minus the log of the chance level, or more, which is logged, if negatives come twice.
    """
    if (guess := values.get(f"{name}_guess", 0.0)) > 0.0:
        return values[f"loss_{name}"] / guess
    chance = values.get(f"{name}_chance", 0.0)
    return values[f"loss_{name}"] / -math.log(chance) if 0.0 < chance < 1.0 else None
